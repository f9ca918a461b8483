package idv.keycloak;

import static java.util.concurrent.TimeUnit.NANOSECONDS;
import static java.util.concurrent.TimeUnit.SECONDS;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeoutException;
import org.jboss.logging.Logger;
import org.keycloak.models.KeycloakSession;
import org.keycloak.util.JsonSerialization;

/** The IDV Gateway, asked with one API key. Whatever is not a 200 with JSON, in time, is no answer. */
record Gateway(String url, String apiKey) {

    private static final Logger LOG = Logger.getLogger(Gateway.class);
    private static final int DECISION_SECONDS = 9; // the gateway answers within 8
    private static final int STATUS_SECONDS = 3; // it asks nobody else; a token waits for it

    // A redirect is not followed: it would carry the key to another address, and its 200 is not the gateway's.
    private static final HttpClient CLIENT =
            HttpClient.newBuilder()
                    .version(HttpClient.Version.HTTP_1_1)
                    .followRedirects(HttpClient.Redirect.NEVER)
                    .build();

    /** As configured in the admin console, where the key may be the name of a secret in Keycloak's vault. */
    static Gateway of(KeycloakSession session, Map<String, String> config) {
        String key = config.getOrDefault(Settings.API_KEY, "");
        try (var secret = session.vault().getStringSecret(key)) {
            return new Gateway(config.getOrDefault(Settings.URL, ""), secret.get().orElse(""));
        }
    }

    Optional<JsonNode> start(Map<String, String> request) {
        return post("start", "/v1/verifications", request);
    }

    Optional<JsonNode> finish(Map<String, String> request) {
        return post("finish", "/v1/callback", request);
    }

    Optional<JsonNode> status(String userId) {
        String segment = URLEncoder.encode(userId, StandardCharsets.UTF_8).replace("+", "%20");
        return ask("status", "/v1/users/" + segment, HttpRequest.newBuilder().GET(), STATUS_SECONDS);
    }

    private Optional<JsonNode> post(String step, String path, Map<String, String> body) {
        try {
            var json = BodyPublishers.ofString(JsonSerialization.writeValueAsString(body));
            var request = HttpRequest.newBuilder().header("Content-Type", "application/json").POST(json);
            return ask(step, path, request, DECISION_SECONDS);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private Optional<JsonNode> ask(String step, String path, HttpRequest.Builder request, int seconds) {
        try {
            request.uri(URI.create(url.replaceAll("/+$", "") + path)).header("Authorization", "Bearer " + apiKey);
            return read(step, inTime(request.build(), seconds));
        } catch (ExecutionException error) {
            LOG.errorf("%s: no answer (%s)", step, error.getCause().getClass().getSimpleName());
        } catch (TimeoutException error) {
            LOG.errorf("%s: no answer within %d s", step, seconds);
        } catch (IllegalArgumentException error) {
            LOG.errorf("%s: address or API key cannot be used", step);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
        return Optional.empty();
    }

    /** A kept connection may be gone. A repeat is harmless: a start begins anew, a finish is answered alike. */
    private static HttpResponse<String> inTime(HttpRequest request, int seconds)
            throws ExecutionException, InterruptedException, TimeoutException {
        long end = System.nanoTime() + SECONDS.toNanos(seconds);
        try {
            return until(end, request);
        } catch (ExecutionException gone) {
            return until(end, request);
        }
    }

    /** The time is that of the whole answer: the client's own limit ends with the headers. */
    private static HttpResponse<String> until(long end, HttpRequest request)
            throws ExecutionException, InterruptedException, TimeoutException {
        var answer = CLIENT.sendAsync(request, BodyHandlers.ofString());
        try {
            return answer.get(end - System.nanoTime(), NANOSECONDS);
        } finally {
            answer.cancel(true);
        }
    }

    /** Only stable codes are logged, nothing personal. */
    private static Optional<JsonNode> read(String step, HttpResponse<String> response) {
        try {
            JsonNode answer = JsonSerialization.mapper.readTree(response.body());
            if (response.statusCode() == 200) {
                return Optional.of(answer);
            }
            LOG.errorf("%s: %d %s", step, response.statusCode(), answer.path("code").asText());
        } catch (JsonProcessingException error) {
            LOG.errorf("%s: %d, and no JSON", step, response.statusCode());
        }
        return Optional.empty();
    }
}
