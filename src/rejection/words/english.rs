//! English.

use super::Texts;
use crate::rejection::Kind;

/// A table, and so longer than a function should be: one arm a kind, read from top to bottom.
pub(super) fn texts(kind: &Kind) -> Texts {
    match kind {
        Kind::BadRequest => Texts {
            title: "The request could not be understood",
            explanation: "Your browser or program sent a request that is malformed, so it was not passed on to the application.",
            advice: "Start again from the front page. If a program sent the request, its author should check the method, the Host header and how the body is sent.",
            checks: &[],
        },
        Kind::AmbiguousPath => Texts {
            title: "This address could mean two things",
            explanation: "The address holds something that two systems may read differently, such as a double slash, a backslash, dots between slashes or an encoded slash. So it was not passed on to the application.",
            advice: "Check the address. If you followed a link, tell whoever published it.",
            checks: &[],
        },
        Kind::SignInCookieMissing => Texts {
            title: "The sign-in could not be finished",
            explanation: "Your browser came back from signing in without the cookie that it was given at the start. It may block cookies for this site, or the sign-in was started in another browser, or from a bookmark of the sign-in page.",
            advice: "Start again. If that does not help, allow cookies for this site.",
            checks: &[
                "The cookie is `Secure` where `server.public_url` is https: people who arrive by plain http never send it back",
                "The page must be opened under the host of `server.public_url`: a cookie of another host does not come along",
                "Where the application is shown in a foreign site’s frame, `session.same_site` must be \"none\"",
            ],
        },
        Kind::ForeignSignIn => Texts {
            title: "This sign-in was not started here",
            explanation: "The answer from the sign-in provider belongs to no sign-in that this browser started, so it was not used. You may have opened a link that was meant for another browser, or somebody may have tried to sign you in under a name that is not yours.",
            advice: "Start again from here.",
            checks: &[],
        },
        Kind::SignInUsed => Texts {
            title: "This sign-in was already used",
            explanation: "Each sign-in counts once, and this one was used before. The Back button or reloading the page usually leads here.",
            advice: "Start again: if you are still signed in, you go straight on.",
            checks: &[],
        },
        Kind::FormNotKept => Texts {
            title: "What you sent has not been saved",
            explanation: "You were signed out in the meantime, so what you sent was not passed on, and it could not be kept for you either.",
            advice: "Sign in in another window, come back here with your browser’s Back button, and send it again.",
            checks: &[
                "Forms up to `session.kept_form_size` are kept while their person signs in; the log line with this id says why this one was not",
            ],
        },
        Kind::FormGone => Texts {
            title: "There is nothing more to send",
            explanation: "What you sent before you signed in has been passed on already, or it was kept for too long and has been deleted.",
            advice: "Look in the application whether it arrived before you enter it again.",
            checks: &["Forms are kept for `session.kept_form_lifetime`, and sent on once"],
        },
        Kind::FormOfAnother => Texts {
            title: "Somebody else filled in that form",
            explanation: "Before you signed in, a form was sent from this browser in another person’s name. It was not passed on in yours, and it has been deleted.",
            advice: "Go on from the front page.",
            checks: &[],
        },
        Kind::SignInNeeded => Texts {
            title: "You are not signed in",
            explanation: "There is no session, or it has ended. The request was not passed on to the application, and nothing that you sent with it was saved.",
            advice: "Sign in, then send it again.",
            checks: &[],
        },
        Kind::AccessTokenNeeded => Texts {
            title: "An access token is needed",
            explanation: "This address is for programs that send an access token of the sign-in provider, and the request has none. It was not passed on.",
            advice: "Send the token in the Authorization field, with the scheme Bearer.",
            checks: &["The route of this path in proxy.toml has `access = \"bearer\"`"],
        },
        Kind::AccessTokenMalformed => Texts {
            title: "The access token cannot be read",
            explanation: "The request does not carry one access token in one Authorization field, so it was not passed on.",
            advice: "Send it there once, with the scheme Bearer and as the provider gave it.",
            checks: &[],
        },
        Kind::AccessTokenInvalid { .. } => Texts {
            title: "The access token is not accepted",
            explanation: "The access token has expired, or is not one of this site’s sign-in provider for this application. The request was not passed on.",
            advice: "Ask the provider for a new token, for this application’s audience.",
            checks: &[
                "The log line with this id names the check, what was expected and what was found",
                "`access_token_audience` of the provider must be the token’s `aud`, `issuer` its `iss`, and `algorithms` must have its `alg`",
            ],
        },
        Kind::AccessTokenInsufficient { .. } => Texts {
            title: "The access token does not open this address",
            explanation: "The access token is good, but this site does not let in whoever it names.",
            advice: "Another try with the same token does not help. Ask the administrator of this site.",
            checks: &[
                "`vestibule users show USERNAME` shows the status and the identities of a user; signing in once, or `users bind`, binds one",
                "The claim that names the user is `access_token_username_claim`; a token without it is a machine’s, and needs a route with `machine = true`",
            ],
        },
        Kind::RouteDenied => Texts {
            title: "This address is closed",
            explanation: "The operator of this site has closed this address to everybody. Another account would not help.",
            advice: "If you need what is there, ask your administrator.",
            checks: &[],
        },
        Kind::RuleDenied => Texts {
            title: "Not for your account",
            explanation: "You are signed in, but a rule of this site does not let your account open this page.",
            advice: "If you should have access, ask your administrator. A change of your account takes effect when you sign in again.",
            checks: &[
                "The route of this path in proxy.toml has a `require`; it was decided on the person’s claims at their sign-in",
            ],
        },
        Kind::ForeignOrigin => Texts {
            title: "Another site asked for this",
            explanation: "A page of another site tried to change something here in your name, and this site does not know that page. The request was not passed on, and nothing was changed.",
            advice: "If you meant to do this, do it in the application itself.",
            checks: &[
                "`session.same_site` is \"none\", so `session.trusted_origins` must list the origins of portals that send forms here or open connections",
            ],
        },
        Kind::ProviderRefused { .. } => Texts {
            title: "The provider did not sign you in",
            explanation: "The sign-in provider ended the sign-in with an error. You may have cancelled it, or your account may not be allowed to use this application there.",
            advice: "Use another account or try again. If it goes on, ask your administrator to give you access to this application at the provider.",
            checks: &[],
        },
        Kind::ClientRefused { .. } => Texts {
            title: "The provider does not know this installation",
            explanation: "You signed in, but the sign-in provider refused what this installation identifies itself with. This is not your fault, and nobody else can sign in either.",
            advice: "Tell your administrator. Trying again helps once the configuration is mended.",
            checks: &[
                "The log line with this id says what to compare with the registration at the provider",
                "With a secret: it may have expired there, or `client_secret`, `client_id` or `client_authentication` is another",
                "With `private_key`: the key that `vestibule keys public` prints must be registered there, or its certificate, and the clocks must agree; `vestibule check --online` looks at both sides",
            ],
        },
        Kind::TokenInvalid { .. } => Texts {
            title: "The sign-in could not be verified",
            explanation: "The sign-in provider’s answer did not pass the checks that keep others from signing in as you. This is not your fault.",
            advice: "Try again once. If it comes back, tell your administrator.",
            checks: &[
                "The log line with this id names the check, what was expected and what was found",
                "`vestibule check --online` compares the clocks and the provider’s own description with the configuration",
            ],
        },
        Kind::Conflict => Texts {
            title: "This username belongs to another account",
            explanation: "You signed in, but the username of your account is already bound to another account here. To protect its owner, nobody else is let in under that name.",
            advice: "Use another account if you have several. If the name is yours, for example because your account was made anew, ask your administrator.",
            checks: &[
                "`vestibule users show USERNAME --history` shows the identities (issuer and subject) that the username is bound to, and who came under it",
                "A user without any identity is taken over only where `adopt` of its directory allows it",
            ],
        },
        Kind::Inactive => Texts {
            title: "Your account waits for activation",
            explanation: "You signed in and you are known here, but your account is not active.",
            advice: "Ask your administrator to activate it, then try again.",
            checks: &[],
        },
        Kind::Refused { .. } => Texts {
            title: "Your account was not accepted",
            explanation: "You signed in, but the rules of this site’s directory do not let this account in.",
            advice: "Show this page to your administrator, or use another account.",
            checks: &[
                "`vestibule explain --claims FILE` shows what the directory makes of a person’s claims, field by field, and writes nothing",
            ],
        },
        Kind::TokenTooLarge => Texts {
            title: "Your account carries too much information",
            explanation: "You signed in, but what the sign-in provider says about you does not fit into a session cookie. This is for the administrator to mend, not for you.",
            advice: "Tell your administrator. Trying again helps only after something was changed.",
            checks: &[
                "Long lists of groups are the usual cause: have the provider send fewer, or only those that this application uses",
                "Claims that a mapping or a header uses are never left out; `session.claims` can list what the token shall carry besides",
            ],
        },
        Kind::LoopCookieLost => Texts {
            title: "The sign-in does not last",
            explanation: "You signed in successfully several times within half a minute, and each time your browser came back without the session cookie. So that you do not go round in circles, it stops here.",
            advice: "Allow cookies for this site, then try again. If it comes back, show this page to your administrator.",
            checks: &[
                "The cookie is `Secure` where `server.public_url` is https: a browser that arrives by plain http drops it",
                "The cookie’s path is the base path of `server.public_url`, to the letter: the page must lie below it",
                "The page must be opened under the host of `server.public_url`, and nothing in front of this server may remove `Set-Cookie`",
                "In a foreign site’s frame the browser blocks the cookie unless `session.same_site` is \"none\", or blocks it altogether",
                "A clock that is wrong by more than the session’s lifetime ends each session at once",
            ],
        },
        Kind::LoopApplication => Texts {
            title: "The application does not accept the sign-in",
            explanation: "You are signed in and your session is good, yet the application sent you to sign in again several times within half a minute. So that you do not go round in circles, it stops here. This is not your fault.",
            advice: "Try again later, or show this page to your administrator.",
            checks: &[
                "The first secret of `session.keys` must be the application’s `ApplicationSecurityAuthSessionTokenSigningSecret`, byte for byte",
                "`session.issuer` and `session.audience` must be what the application expects, `session.algorithm` what it verifies",
                "The application must know the username (`session.username_claim`), and the user must be active there",
                "`session.cookie` must be the name that the application reads, and `upstream.identity.session_cookie` must be \"forward\"",
                "The clocks of both machines must agree",
            ],
        },
        Kind::NotFound => Texts {
            title: "There is nothing at this address",
            explanation: "Neither the application nor the sign-in answers at this address.",
            advice: "Check the address, or go on from the front page.",
            checks: &[],
        },
        Kind::MethodNotAllowed { .. } => Texts {
            title: "This cannot be done at this address",
            explanation: "The address exists, but the request came with a method that it does not take.",
            advice: "Go on from the front page.",
            checks: &[],
        },
        Kind::RequestTimeout => Texts {
            title: "The request took too long to arrive",
            explanation: "The request did not arrive completely in time, so it was not passed on. A slow or broken connection is the usual cause.",
            advice: "Try again when the connection is better.",
            checks: &[],
        },
        Kind::BodyTooLarge => Texts {
            title: "What you sent is too large",
            explanation: "The file or form that you sent is larger than this site takes, so it was not passed on and nothing of it was saved.",
            advice: "Send something smaller, or ask your administrator to raise the limit.",
            checks: &["The limit is `server.limits.body_size`"],
        },
        Kind::UnknownExpectation => Texts {
            title: "The request expects something unknown",
            explanation: "The program that sent the request asks for a behaviour that this site does not know, so the request was not passed on.",
            advice: "Use an up-to-date browser or program.",
            checks: &["Of the `Expect` header only `100-continue` has a meaning"],
        },
        Kind::WrongHost => Texts {
            title: "This is not the application’s address",
            explanation: "The request names a host that this server does not serve. The address may be misspelt or out of date.",
            advice: "Go to the front page and renew your bookmark.",
            checks: &[
                "`server.public_url` names the host, `server.aliases` lists further ones",
                "Behind another proxy, either it passes the Host header on or its address is in `server.trusted_proxies` and it sends `X-Forwarded-Host`",
            ],
        },
        Kind::HeaderTooLarge => Texts {
            title: "The request carries too much",
            explanation: "Your browser sent more header fields than this server takes. Too many cookies are the usual cause.",
            advice: "Delete the cookies of this site, then go on from the front page.",
            checks: &[],
        },
        Kind::ApplicationUnreachable => Texts {
            title: "The application does not answer",
            explanation: "The application behind this page cannot be reached, or it broke off in the middle of its answer. This is not your fault, and if you were signed in, you still are.",
            advice: "Try again in a moment. If you were saving or sending something, check first whether it arrived.",
            checks: &[
                "The addresses tried are those of `upstream.servers`; the log line with this id says what went wrong",
                "`vestibule check --online` tries them too",
            ],
        },
        Kind::ConnectionSignIn => Texts {
            title: "The application wants a sign-in of its own",
            explanation: "The application behind this page asked for a Windows sign-in (NTLM or Negotiate). Such a sign-in holds for a whole connection, and people share connections here: one person would be taken for another. So it stops here. This is not your fault, and if you were signed in, you still are.",
            advice: "Tell your administrator. Trying again helps only after something was changed.",
            checks: &[
                "In IIS, Windows Authentication must be off for this path, and Anonymous Authentication on; Basic Authentication may be on for paths that are \"open\"",
                "The log line with this id names the server and the scheme",
            ],
        },
        Kind::ProviderDown { .. } => Texts {
            title: "Signing in is not possible just now",
            explanation: "The sign-in provider does not answer. This is not your fault. Whoever is signed in already can go on working.",
            advice: "Try again in a moment.",
            checks: &[
                "The log says why; `vestibule check --online` asks the provider now",
                "Nothing needs to be restarted: sign-ins go on as soon as the provider answers",
            ],
        },
        Kind::StoreDown => Texts {
            title: "Signing in is not possible just now",
            explanation: "The directory that knows this site’s users does not answer. This is not your fault. Whoever is signed in already can go on working.",
            advice: "Try again in a moment.",
            checks: &[
                "The log says why: usually a full disk, or rights to the file of `store.url`",
            ],
        },
        Kind::ReceiverDown => Texts {
            title: "Your account is not ready yet",
            explanation: "You signed in, but the application has to be told of you first, and it does not answer. This is not your fault. Whoever works there already can go on.",
            advice: "Try again in a moment.",
            checks: &[
                "The log says what the receiver of `directories.push` answered; `vestibule check --online` asks it",
            ],
        },
        Kind::ApplicationSlow => Texts {
            title: "The application takes too long",
            explanation: "The application behind this page did not answer in time. It may still be working on what you asked for. This is not your fault, and if you were signed in, you still are.",
            advice: "If you were saving or sending something, check first whether it arrived. Otherwise try again in a moment.",
            checks: &["The limit is `upstream.response_timeout`"],
        },
    }
}
