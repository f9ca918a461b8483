package idv.keycloak;

import java.util.Map;
import org.keycloak.provider.ProviderConfigProperty;
import org.keycloak.provider.ProviderConfigurationBuilder;

/** What the authenticator and the mapper are both told in the admin console. */
final class Settings {

    static final String URL = "idv.url";
    static final String API_KEY = "idv.api.key";
    static final String BLOCK_ON_FAILURE = "idv.block.on.failure";

    private Settings() {}

    /** The address and the key, and what blocking means in this place. */
    static ProviderConfigurationBuilder properties(String blocking) {
        return ProviderConfigurationBuilder.create()
                .property()
                .name(URL)
                .label("Gateway address")
                .helpText("Where Keycloak reaches the IDV Gateway, for example https://idv.example.com.")
                .type(ProviderConfigProperty.STRING_TYPE)
                .required(true)
                .add()
                .property()
                .name(API_KEY)
                .label("API key")
                .helpText("A key of the gateway's API_KEYS. Administrators of the realm can read it here: "
                        + "better is ${vault.NAME}, the name of a secret in Keycloak's vault.")
                .type(ProviderConfigProperty.PASSWORD)
                .secret(true)
                .required(true)
                .add()
                .property()
                .name(BLOCK_ON_FAILURE)
                .label("Block on failure")
                .helpText(blocking)
                .type(ProviderConfigProperty.BOOLEAN_TYPE)
                .defaultValue("false")
                .add();
    }

    static boolean blockOnFailure(Map<String, String> config) {
        return Boolean.parseBoolean(config.get(BLOCK_ON_FAILURE));
    }
}
