// A receiver of HTTP bodies, of Node's own HTTP and TLS: keeps each body by its Idempotency-Key, and a line a request.
//
//   node receiver.js PORT FOLDER LIMIT [KEY CERTIFICATE]
//
// What is larger than LIMIT bytes is answered with 413 at once, before it is read; 0: there is no limit. It is a proxy,
// too: CONNECT leads to any port of the loopback.
"use strict";
const fs = require("fs");
const net = require("net");
const path = require("path");
const [port, folder, limit, key, certificate] = process.argv.slice(2);
const most = Number(limit) || Infinity;

function log(request, status, size) {
  const said = { status, size, method: request.method, url: request.url, headers: request.headers };
  fs.appendFileSync(path.join(folder, "requests"), JSON.stringify(said) + "\n");
  return status;
}

function receive(request, response) {
  if (Number(request.headers["content-length"]) > most) {
    response.writeHead(log(request, 413, 0), { Connection: "close" }).end(`no more than ${most} bytes`);
    return;
  }
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const body = Buffer.concat(parts);
    fs.writeFileSync(path.join(folder, encodeURIComponent(request.headers["idempotency-key"])) + ".body", body);
    response.writeHead(log(request, 204, body.length)).end();
  });
}

const server = certificate
  ? require("https").createServer({ key: fs.readFileSync(key), cert: fs.readFileSync(certificate) }, receive)
  : require("http").createServer(receive);
server.on("connect", (request, near) => {
  log(request, 200, 0);
  const far = net.connect(Number(request.url.split(":").pop()), "127.0.0.1", () => {
    near.write("HTTP/1.1 200 Connection established\r\n\r\n");
    far.pipe(near).pipe(far);
  });
});
server.listen(Number(port), "127.0.0.1");
