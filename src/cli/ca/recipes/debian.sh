# Debian and Ubuntu, as root: the store that curl, OpenSSL, Go, .NET and Python's ssl read. Node, Java (without the package
# ca-certificates-java), Python's requests and browsers have authorities of their own.
# To undo it: rm /usr/local/share/ca-certificates/itwin-auth-proxy.crt && update-ca-certificates --fresh
install -m 644 {ca} /usr/local/share/ca-certificates/itwin-auth-proxy.crt
update-ca-certificates
