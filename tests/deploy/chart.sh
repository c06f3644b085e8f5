#!/usr/bin/env bash
# Both versions of Helm.
exec "$(dirname "${BASH_SOURCE[0]}")/helm.sh"
