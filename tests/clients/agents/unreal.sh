# What the C++ of itwin-unreal-plugin sends: client and secret in the form, and then the API, whose
# host it has in its code. A stand-in by curl; the plugin itself needs an Unreal Engine.
set -euo pipefail
token=$(curl -sSf -H 'X-Correlation-ID: 1' https://ims.bentley.com/connect/token \
  -d grant_type=client_credentials -d client_id=its-own -d client_secret=none -d scope=itwin-platform |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')
curl -sSf -H "Authorization: Bearer $token" "https://api.bentley.com/imodels?iTwinId=$1&\$top=3" |
  python3 -c 'import json, sys; print(json.dumps({"found": len(json.load(sys.stdin)["iModels"])}))'
