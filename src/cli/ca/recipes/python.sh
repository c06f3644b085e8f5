# Python: its ssl module reads SSL_CERT_FILE, requests reads REQUESTS_CA_BUNDLE. Both take the place of all other
# authorities, so that the file, made in the current directory, has those of the system too.
cat $(ls /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt 2>/dev/null) {ca} > itwin-python.pem
export SSL_CERT_FILE="$PWD/itwin-python.pem" REQUESTS_CA_BUNDLE="$PWD/itwin-python.pem"
