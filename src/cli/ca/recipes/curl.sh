# curl, for one call: curl --cacert {ca} https://…
# For all calls: a file, made in the current directory, that takes the place of all other authorities, and so has those too.
cat $(ls /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt 2>/dev/null) {ca} > itwin-curl.pem
export CURL_CA_BUNDLE="$PWD/itwin-curl.pem"
