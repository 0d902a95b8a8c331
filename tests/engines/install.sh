#!/usr/bin/env bash
# Fetches the engines that tests/engines has read an archive, into .cache/engines at the top of the repository, a virtual
# environment of its own: what is there stays. Spark needs a Java runtime (make test-engines installs Debian's).
set -euo pipefail

PYSPARK=4.3.0
CHDB=4.4.0

cd "$(dirname "$0")/../.."
home=.cache/engines
version="pyspark $PYSPARK chdb $CHDB"
[ "$(cat "$home/version" 2>/dev/null)" = "$version" ] && exit 0
"${PYTHON:-python3}" -m venv "$home"
"$home/bin/pip" install --quiet "pyspark==$PYSPARK" "chdb==$CHDB"
echo "$version" >"$home/version"
