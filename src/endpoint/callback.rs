//! `callback`: an authorization response becomes a session, or a rejection that says why not. Nothing
//! is written for a response that was not asked for by this browser.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::login::Start;
use super::{Asked, Endpoints, redirect};
use crate::environment::rfc3339;
use crate::oidc::{AuthorizationResponse, ResponseFault, TokenFault, session_claims};
use crate::provisioning::outbox::Undelivered;
use crate::provisioning::{self, Account, Outcome};
use crate::rejection::{Kind, Rejection};
use crate::session::{OpenError, SignIn};
use crate::store::OpenSessionError;

/// A storm of tabs ends when the last of them has its first answer; what goes on after that is none.
const MOST_RESTARTS: u8 = 4;

/// Why a sign-in ended without a session, and the label of its metric.
type Unfinished = Rejection;

impl Endpoints {
    pub(super) async fn callback(&self, name: Option<&str>, asked: &Asked) -> Response<Bytes> {
        let binding = self.sessions.cookies().sign_in_value(&asked.headers);
        let query = asked.uri.query().unwrap_or_default();
        let received = AuthorizationResponse::receive(
            query,
            name,
            binding,
            &self.parties,
            &self.sealer,
            self.clock.now(),
        );
        if let Some(return_to) = genuine_return(&received)
            && let Some(session) = self.session_of(asked).await
        {
            let state = asked.parameter("state").unwrap_or_default();
            let now = self.clock.now();
            if self
                .recurrence
                .led_back(session.sid(), &state, return_to, now)
            {
                let rejection = Rejection::of(Kind::LoopCookieLost);
                return self.reject(asked, &rejection, Some(return_to));
            }
            return redirect(StatusCode::SEE_OTHER, return_to, []);
        }
        let response = match received {
            Ok(response) => response,
            Err(fault) => return self.refused(asked, fault),
        };
        match self.signed_in(asked, &response).await {
            Ok(token) => {
                let now = self.clock.now();
                self.recurrence
                    .signed_in(binding.unwrap_or_default(), response.return_to(), now);
                let set = self.sessions.cookies().set_session(&token);
                redirect(StatusCode::SEE_OTHER, response.return_to(), set)
            }
            Err(rejection) => {
                self.metrics
                    .login(response.provider(), rejection.kind.slug());
                self.reject(asked, &rejection, Some(response.return_to()))
            }
        }
    }

    /// Redeems the code, provisions the user and opens the session; the result is the token.
    async fn signed_in(
        &self,
        asked: &Asked,
        response: &AuthorizationResponse,
    ) -> Result<String, Unfinished> {
        let now = self.clock.now();
        let unknown = || Rejection::of(Kind::ForeignSignIn);
        let party = self
            .parties
            .by_name(response.provider())
            .ok_or_else(unknown)?;
        let redeemed = party.redeem(response, &*self.random, now).await;
        let tokens = redeemed.map_err(not_redeemed)?;
        let claims = session_claims(tokens.claims.set(), party.config(), &self.config.session)
            .map_err(|fault| {
                Rejection::because(
                    refused(&fault, Some(party.config().username_claim.clone())),
                    &fault,
                )
            })?;
        let account = match self
            .provisioning
            .provision(&tokens.claims, &claims, asked.id, now)
            .await
        {
            Ok(account) => account,
            Err(error) => return Err(self.not_provisioned(error)),
        };
        self.metrics
            .provisioning(&account.user().directory, account.outcome().as_str());
        self.told_to_receivers(&account).await?;
        let sign_in = SignIn {
            account: &account,
            tokens: &tokens,
            session_claims: claims,
            response,
        };
        let opened = self
            .sessions
            .open(sign_in, &self.sealer, &*self.random, now)
            .await
            .map_err(|error| self.not_opened(error))?;
        if !opened.left_out.is_empty() {
            tracing::warn!(
                id = %asked.id,
                claims = opened.left_out.join(" "),
                "claims left out of the session token to fit its cookie; list those that the application needs in session.claims"
            );
        }
        if self.config.session.refresh
            && tokens.refresh_token.is_none()
            && party.is_first_without_refresh_token()
        {
            let until = rfc3339(opened.expires_at);
            tracing::info!(id = %asked.id, provider = party.name(), until, "the provider gave no refresh token, so sessions are not renewed: ask for offline_access in providers.scopes, or see what the client lacks at the provider");
        }
        self.store.note_login(&account.user().id, now);
        let (provider, outcome) = (response.provider(), account.outcome().as_str());
        self.metrics.login(provider, outcome);
        tracing::info!(id = %asked.id, provider, outcome, directory = account.user().directory, user = account.user().id, "signed in");
        Ok(opened.token)
    }

    /// The application's own directory knows of the person before their first request comes there.
    async fn told_to_receivers(&self, account: &Account) -> Result<(), Unfinished> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let told = self.outbox.before_coming_in(account.user()).await;
        let told = told.map_err(|error| self.not_provisioned(error.into()))?;
        told.map_err(|undelivered| {
            let kind = match &undelivered {
                Undelivered::Foreign { .. } => Kind::Conflict,
                Undelivered::Rejected { .. } => refused(&undelivered, None),
                Undelivered::Down { .. } => Kind::ReceiverDown,
            };
            Rejection::because(kind, undelivered)
        })
    }

    fn not_provisioned(&self, error: provisioning::Error) -> Unfinished {
        match error {
            provisioning::Error::Refused(refusal) => {
                self.metrics
                    .provisioning(&refusal.directory, refusal.outcome.as_str());
                let kind = match refusal.outcome {
                    Outcome::Conflict => Kind::Conflict,
                    Outcome::Inactive => Kind::Inactive,
                    _ => Kind::Refused {
                        reason: refusal.reason.clone(),
                        field: refusal.field.clone(),
                        message: refusal.message.clone(),
                    },
                };
                Rejection::because(kind, refusal)
            }
            provisioning::Error::Store(error) => {
                self.sessions.store_answers(Err(&error));
                Rejection::because(Kind::StoreDown, error)
            }
        }
    }

    fn not_opened(&self, error: OpenError) -> Unfinished {
        match &error {
            OpenError::TooLarge { .. } | OpenError::Signing(_) => {
                Rejection::because(Kind::TokenTooLarge, error)
            }
            OpenError::Store(
                OpenSessionError::SignInUsed
                | OpenSessionError::LoggedOut
                | OpenSessionError::Unbound,
            ) => Rejection::because(Kind::SignInUsed, error),
            OpenError::Store(OpenSessionError::Inactive) => {
                Rejection::because(Kind::Inactive, error)
            }
            OpenError::Store(OpenSessionError::Store(store)) => {
                self.sessions.store_answers(Err(store));
                Rejection::because(Kind::StoreDown, error)
            }
        }
    }

    fn refused(&self, asked: &Asked, fault: ResponseFault) -> Response<Bytes> {
        let kind = match &fault {
            ResponseFault::Late { return_to } => {
                return redirect(StatusCode::SEE_OTHER, return_to, []);
            }
            // Tabs that were opened at once overwrite each other's sign-in cookie. The person signs in
            // anew, under the cookie that stayed: nothing of this response is used but its address.
            ResponseFault::OtherBinding {
                provider,
                return_to,
                restarts,
            } if *restarts < MOST_RESTARTS => {
                let start = Start {
                    return_to,
                    select_account: false,
                    restarts: restarts + 1,
                };
                match self.parties.by_name(provider) {
                    Some(party) => return self.begin(asked, party, &start),
                    None => Kind::ForeignSignIn,
                }
            }
            // Somebody who opens the address itself, from a bookmark, is helped by starting again too.
            ResponseFault::OtherBinding { .. }
            | ResponseFault::ForeignState
            | ResponseFault::WrongIssuer
            | ResponseFault::Malformed(_) => Kind::ForeignSignIn,
            ResponseFault::NoBinding => Kind::SignInCookieMissing,
            ResponseFault::Denied {
                provider, error, ..
            } => match error.as_str() {
                "temporarily_unavailable" | "server_error" => Kind::ProviderDown {
                    provider: provider.clone(),
                },
                _ => Kind::ProviderRefused {
                    provider: provider.clone(),
                    error: error.clone(),
                },
            },
        };
        let return_to = match &fault {
            ResponseFault::Denied {
                provider,
                return_to,
                ..
            } => {
                self.metrics.login(provider, kind.slug());
                Some(return_to.clone())
            }
            _ => None,
        };
        self.reject(
            asked,
            &Rejection::because(kind, fault),
            return_to.as_deref(),
        )
    }
}

/// The return address of a response that we sealed the state of, whatever else is wrong with it.
fn genuine_return(received: &Result<AuthorizationResponse, ResponseFault>) -> Option<&str> {
    match received {
        Ok(response) => Some(response.return_to()),
        Err(
            ResponseFault::Late { return_to }
            | ResponseFault::OtherBinding { return_to, .. }
            | ResponseFault::Denied { return_to, .. },
        ) => Some(return_to),
        Err(_) => None,
    }
}

fn not_redeemed(fault: TokenFault) -> Unfinished {
    let kind = match &fault {
        TokenFault::Down(down) => Kind::ProviderDown {
            provider: down.provider.clone(),
        },
        TokenFault::Refused { provider, error } => Kind::ProviderRefused {
            provider: provider.clone(),
            error: error.clone(),
        },
        TokenFault::OtherTenant { .. } => refused(
            &"your organisation is not among those whose people may come in here",
            Some("tid".to_owned()),
        ),
        TokenFault::ClientRefused {
            provider, error, ..
        } => Kind::ClientRefused {
            provider: provider.clone(),
            error: error.clone(),
        },
        TokenFault::Invalid { provider, .. } | TokenFault::UnknownKey { provider, .. } => {
            Kind::TokenInvalid {
                provider: provider.clone(),
            }
        }
    };
    Rejection::because(kind, fault)
}

fn refused(reason: &impl ToString, field: Option<String>) -> Kind {
    Kind::Refused {
        reason: reason.to_string(),
        field,
        message: None,
    }
}
