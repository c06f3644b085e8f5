import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** A program with the JDK's own client; the proxy is that of the JVM's properties. */
class Agent {
    public static void main(String[] arguments) throws InterruptedException {
        var client = HttpClient.newHttpClient();
        var request = HttpRequest.newBuilder(URI.create(arguments[0]))
            .header("Authorization", "Bearer dummy").build();
        try {
            var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            int found = answer.body().split("\"displayName\"", -1).length - 1;
            System.out.println("{\"found\": " + found + "}");
        } catch (IOException error) {
            System.out.println("{\"error\": \"" + error.getClass().getSimpleName() + "\"}");
        }
    }
}
