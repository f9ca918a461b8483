package idv.keycloak;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.MissingNode;
import jakarta.ws.rs.core.Response;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.keycloak.OAuthErrorException;
import org.keycloak.models.ClientSessionContext;
import org.keycloak.models.KeycloakSession;
import org.keycloak.models.ProtocolMapperModel;
import org.keycloak.models.UserModel;
import org.keycloak.models.UserSessionModel;
import org.keycloak.protocol.oidc.mappers.AbstractOIDCProtocolMapper;
import org.keycloak.protocol.oidc.mappers.OIDCAccessTokenMapper;
import org.keycloak.protocol.oidc.mappers.OIDCAttributeMapperHelper;
import org.keycloak.protocol.oidc.mappers.OIDCIDTokenMapper;
import org.keycloak.protocol.oidc.mappers.TokenIntrospectionTokenMapper;
import org.keycloak.protocol.oidc.mappers.UserInfoTokenMapper;
import org.keycloak.provider.ProviderConfigProperty;
import org.keycloak.representations.AccessToken;
import org.keycloak.representations.IDToken;
import org.keycloak.services.ErrorResponseException;
import org.keycloak.util.JsonSerialization;

/** Stamps the claim of a verification that stands now, as the gateway's record has it. */
public final class VerificationClaimMapper extends AbstractOIDCProtocolMapper
        implements OIDCAccessTokenMapper, OIDCIDTokenMapper, UserInfoTokenMapper, TokenIntrospectionTokenMapper {

    private static final List<ProviderConfigProperty> PROPERTIES =
            new ArrayList<>(Settings.properties("Give out no token when no verification stands, or the gateway does not "
                            + "answer. Off: the token comes without the claim. It holds where nobody sees a page, too: "
                            + "refresh tokens and password grants.")
                    .build());

    static {
        OIDCAttributeMapperHelper.addIncludeInTokensConfig(PROPERTIES, VerificationClaimMapper.class);
    }

    @Override
    public String getId() {
        return "idv-verification-claim";
    }

    @Override
    public String getDisplayType() {
        return "Identity verification (IDV Gateway)";
    }

    @Override
    public String getDisplayCategory() {
        return TOKEN_MAPPER_CATEGORY;
    }

    @Override
    public String getHelpText() {
        return "Adds the IDV Gateway's claim while the person's verification stands. Its name is the gateway's CLAIM_NAMESPACE.";
    }

    @Override
    public List<ProviderConfigProperty> getConfigProperties() {
        return PROPERTIES;
    }

    @Override
    public AccessToken transformAccessToken(
            AccessToken token,
            ProtocolMapperModel mapper,
            KeycloakSession session,
            UserSessionModel userSession,
            ClientSessionContext clientSession) {
        UserModel user = userSession.getUser();
        if (isPerson(user)
                && Settings.blockOnFailure(mapper.getConfig())
                && !status(mapper, session, user).path("verified").asBoolean()) {
            throw new ErrorResponseException(
                    OAuthErrorException.ACCESS_DENIED, "identity_verification_failed", Response.Status.FORBIDDEN);
        }
        return super.transformAccessToken(token, mapper, session, userSession, clientSession);
    }

    @Override
    protected void setClaim(
            IDToken token,
            ProtocolMapperModel mapper,
            UserSessionModel userSession,
            KeycloakSession session,
            ClientSessionContext clientSession) {
        UserModel user = userSession.getUser();
        if (isPerson(user)) {
            JsonNode claims = status(mapper, session, user).path("claims");
            claims.properties().forEach(claim -> token.setOtherClaims(claim.getKey(), plain(claim.getValue())));
        }
    }

    private static boolean isPerson(UserModel user) {
        return user.getServiceAccountClientLink() == null;
    }

    /** Asked once for all tokens of a request, and no longer: a refresh after a reset must not find the claim again. */
    private static JsonNode status(ProtocolMapperModel mapper, KeycloakSession session, UserModel user) {
        String place = "idv.status." + mapper.getId() + "." + user.getId();
        JsonNode known = session.getAttribute(place, JsonNode.class);
        if (known != null) {
            return known;
        }
        JsonNode status = Gateway.of(session, mapper.getConfig()).status(user.getId()).orElse(MissingNode.getInstance());
        session.setAttribute(place, status);
        return status;
    }

    private static Object plain(JsonNode value) {
        return JsonSerialization.mapper.convertValue(value, Object.class);
    }
}
