# .NET on Linux reads OpenSSL's authorities: as root, see `--for debian`; otherwise a file, made in the current directory, with
# all of them. On Windows, see `--for windows`. (This recipe is not among those that the project's tests run.)
cat $(ls /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt 2>/dev/null) {ca} > itwin-dotnet.pem
export SSL_CERT_FILE="$PWD/itwin-dotnet.pem"
