#!/usr/bin/python3
"""A stand-in for osqueryi, which no registry of packages has: it speaks the format of osqueryi 5 with `--json`.

That is an array of a row a line, all values text. The last argument says what it does; a pack is two arrays.
"""

import os
import sys
import time

TIMES = r"""[
  {"name":"systemd","system_time":"23470","user_time":"17220"},
  {"name":"kworker/0:1","system_time":"5","user_time":""},
  {"name":"a\u001b[2Jb\ud800","system_time":"-3","user_time":"9223372036854775807"}
]
"""
PACK = '[\n  {"a":"1","pack":"first"}\n]\n[\n  {"b":"2"},\n  {"b":"3"}\n]\n'
PROSE = "Using a virtual database. Need help, type '.help'\n"

say, asked = sys.stdout.write, sys.argv[-1]
if "--json" not in sys.argv[1:]:
    sys.exit("this stand-in knows --json alone")
if "--pack" in sys.argv:
    say(PACK)
elif asked == "SELECT wrong":
    sys.exit("Error: no such column: wrong\x1b[2J")
elif asked == "SELECT sleep":
    time.sleep(600)
elif asked == "SELECT child":
    if not os.fork():
        time.sleep(600)
    say("[]")
elif asked == "SELECT endless":
    while True:
        say('[{"a":"b"}]' * 100_000)
elif asked == "SELECT environment":
    say(f'[\n  {{"names":"{" ".join(sorted(os.environ))}","arguments":"{" ".join(sys.argv[1:-1])}"}}\n]\n')
else:
    say({"SELECT nothing": "[\n\n]\n", "SELECT prose": PROSE, "SELECT table": '{"name":"a"}'}.get(asked, TIMES))
