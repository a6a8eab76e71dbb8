import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import javax.naming.AuthenticationException;
import org.apache.pulsar.broker.ServiceConfiguration;
import org.apache.pulsar.broker.authentication.AuthenticationDataSource;
import org.apache.pulsar.broker.authentication.AuthenticationProvider;

/**
 * The message gateway's own authentication, {@code auth1}: a JSON object with an access id as user name and the
 * password derived from its access key. The role is the access id. Accepted passwords come from the file that
 * the setting {@code auth1File} names: one JSON object, access id to a list of passwords, read anew for every
 * connection so that accounts and keys change while the broker runs.
 */
public class GatewayAuthenticationProvider implements AuthenticationProvider {
    private static final ObjectMapper JSON = new ObjectMapper();

    private Path file;

    @Override
    public void initialize(ServiceConfiguration configuration) throws IOException {
        Object setting = configuration.getProperty("auth1File");
        if (setting == null) {
            throw new IOException("auth1File is not set");
        }
        file = Path.of(setting.toString());
    }

    @Override
    public String getAuthMethodName() {
        return "auth1";
    }

    @Override
    public String authenticate(AuthenticationDataSource source) throws AuthenticationException {
        if (!source.hasDataFromCommand()) {
            throw new AuthenticationException("auth1 is for the binary protocol only");
        }
        JsonNode credentials;
        try {
            credentials = JSON.readTree(source.getCommandData());
        } catch (JsonProcessingException e) {
            throw new AuthenticationException("auth1 data is not JSON");
        }
        if (credentials == null || credentials.size() != 2
                || !credentials.path("username").isTextual() || !credentials.path("password").isTextual()) {
            throw new AuthenticationException("auth1 data is not an object of username and password");
        }
        String accessId = credentials.get("username").textValue();
        byte[] password = credentials.get("password").textValue().getBytes(StandardCharsets.UTF_8);
        for (JsonNode accepted : accounts().path(accessId)) {
            if (MessageDigest.isEqual(password, accepted.asText().getBytes(StandardCharsets.UTF_8))) {
                return accessId;
            }
        }
        throw new AuthenticationException("unknown access id or wrong password: " + accessId);
    }

    private JsonNode accounts() throws AuthenticationException {
        try {
            return JSON.readTree(Files.readAllBytes(file));
        } catch (IOException e) {
            throw new AuthenticationException("cannot read the accounts: " + e.getMessage());
        }
    }

    @Override
    public void close() {
        // Nothing is kept open.
    }
}
