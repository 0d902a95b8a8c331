#!/usr/bin/env bash
# Takes out of a site-packages folder what the agent never loads: 110 MB of 300.
#   docker/slim.sh /opt/ingrain/lib/python3.11/site-packages
set -euo pipefail
cd "$1"

# Arrow's other libraries (Flight, its own S3 client, ORC ...), copies under other names, headers and sources.
rm -rf pyarrow/{include,includes,src,tests} pyarrow/*.{pyx,pxd,pxi,h} pyarrow/*flight* pyarrow/libarrow_s3.* \
    pyarrow/_{s3fs,gcsfs,azurefs,hdfs,orc,cuda}.*
find pyarrow -name 'lib*.so*' -type f | while read -r library; do
    wanted=$(objdump -p "$library" 2>/dev/null | sed -n 's/^ *SONAME *//p')
    [ -z "$wanted" ] || [ "${library##*/}" = "$wanted" ] || rm "$library"
done

# boto3 describes every service of AWS: of use are S3, and those that give credentials.
find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin \
    -exec rm -rf {} +
rm -rf boto3/{data,examples}

find . -depth -type d \( -name tests -o -name __pycache__ \) -exec rm -rf {} +
python3 -m compileall -q . >/dev/null
