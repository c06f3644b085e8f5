# Java: a copy of the authorities that it has, with this one added, in the current directory.
# JAVA_TOOL_OPTIONS is read by every JVM, whatever starts it.
install -m 600 "$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")/lib/security/cacerts" itwin-java.truststore
keytool -importcert -noprompt -alias itwin-auth-proxy -file {ca} -keystore itwin-java.truststore -storepass changeit
export JAVA_TOOL_OPTIONS="-Djavax.net.ssl.trustStore=$PWD/itwin-java.truststore -Djavax.net.ssl.trustStorePassword=changeit"
