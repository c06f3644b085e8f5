"""A script with `requests`, which asks the environment for a proxy and for the authorities to trust."""

import json
import sys

import requests

URL = sys.argv[1]

try:
    answer = requests.get(URL, headers={"Authorization": "Bearer dummy"}, timeout=20)
    answer.raise_for_status()
    print(json.dumps({"found": len(answer.json()["iModels"])}))
except requests.RequestException as error:
    print(json.dumps({"error": type(error).__name__}))
