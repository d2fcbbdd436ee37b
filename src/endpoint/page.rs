//! The pages of our own endpoints: choice of a provider, end of a session, and the way out of a
//! frame. Pure functions from links to documents; who gets which is the endpoints' business.
//!
//! None carries a script. The frame page could try to leave by itself, but browsers allow that only
//! where the frame is the application's own, and there it would throw away what the person was
//! writing around the frame: a button asks first.

use maud::{Markup, html};

use crate::page::{Document, Language, Policy};

/// One provider on the chooser page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// What the person knows the provider by.
    pub(super) label: String,
    /// `login` with `provider` and the return address.
    pub(super) href: String,
}

/// Several providers, none picked.
pub(super) fn chooser(language: Language, choices: &[Choice], policy: Policy) -> Document {
    let title = language.pick(
        "How would you like to sign in?",
        "Choisissez votre connexion",
    );
    let body = html! {
        h1 { (title) }
        p {
            (language.pick(
                "Choose your sign-in provider:",
                "Par quel fournisseur passez-vous\u{a0}?",
            ))
        }
        ul.actions.column {
            @for choice in choices {
                li { a.button.plain href=(choice.href) { (choice.label) } }
            }
        }
    };
    Document::page(language, title, body, policy)
}

/// The session has ended; nothing here signs anybody in again by itself.
pub(super) fn signed_out(language: Language, sign_in: &str) -> Document {
    let title = language.pick("You are signed out", "Vous avez quitté votre session");
    let advice = language.pick(
        "On a computer that others use too, close all windows of the browser as well.",
        "Sur un ordinateur partagé, fermez aussi toutes les fenêtres du navigateur.",
    );
    let body = html! {
        h1 { (title) }
        p { (advice) }
        (actions(&[(sign_in, language.pick("Sign in again", "Se reconnecter"))]))
    };
    Document::page(language, title, body, Policy::Closed)
}

/// Another site sent the browser to `logout`: the person decides. `action` takes a POST and
/// carries a sealed token; `stay` leads back to the application.
pub(super) fn confirm_logout(language: Language, action: &str, stay: &str) -> Document {
    let title = language.pick("Sign out?", "Se déconnecter\u{a0}?");
    let explanation = language.pick(
        "A link on another site led here. Signing out ends your session in this application, and at the sign-in provider where it supports that.",
        "Un lien d’un autre site vous a mené ici. La déconnexion met fin à votre session dans cette application, et chez le fournisseur de connexion s’il le permet.",
    );
    let body = html! {
        h1 { (title) }
        p { (explanation) }
        ul.actions {
            li {
                form method="post" action=(action) {
                    button.button type="submit" { (language.pick("Sign out", "Se déconnecter")) }
                }
            }
            li { a.button.plain href=(stay) { (language.pick("Stay signed in", "Garder la session")) } }
        }
    };
    Document::page(language, title, body, Policy::Form)
}

/// A navigation inside a frame without a session: providers refuse to be framed, so the sign-in
/// opens in the whole window, or in a new one, after which `here` is loaded again in the frame. `in_frame` is
/// for a provider that lets itself be framed.
pub(super) fn frame_breakout(
    language: Language,
    sign_in: &str,
    here: &str,
    in_frame: Option<&str>,
) -> Document {
    let title = language.pick("Please sign in", "Veuillez vous connecter");
    let explanation = language.pick(
        "There is no session, or it has ended, and signing in is not possible inside this part of the page.",
        "Aucune session n’est ouverte, ou elle a pris fin, et la connexion n’est pas possible dans cette partie de la page.",
    );
    let unsaved = language.pick(
        "If something around this part is not saved yet, use a new window, then come back and load this part again.",
        "Si quelque chose autour de cette partie n’est pas encore enregistré, connectez-vous dans une nouvelle fenêtre, puis revenez ici et rechargez cette partie.",
    );
    let in_this_window = language.pick("Sign in", "Se connecter");
    let in_new_window = language.pick("Use a new window", "Dans une nouvelle fenêtre");
    let body = html! {
        h1 { (title) }
        p { (explanation) }
        p { (unsaved) }
        ul.actions {
            li { a.button href=(sign_in) target="_top" { (in_this_window) } }
            li { a.button.plain href=(sign_in) target="_blank" rel="noopener" { (in_new_window) } }
            @if let Some(in_frame) = in_frame {
                li { a.button.plain href=(in_frame) { (language.pick("Try it here", "Essayer ici")) } }
            }
            li { a.button.plain href=(here) { (language.pick("Load again", "Recharger")) } }
        }
    };
    Document::page(language, title, body, Policy::Framed)
}

fn actions(links: &[(&str, &str)]) -> Markup {
    html! {
        ul.actions {
            @for (place, (href, label)) in links.iter().enumerate() {
                li { a.button.plain[place > 0] href=(href) { (label) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "\"><script>alert(1)</script>";

    fn pages(language: Language) -> [Document; 4] {
        let choice = Choice {
            label: HOSTILE.into(),
            href: HOSTILE.into(),
        };
        [
            chooser(language, &[choice], Policy::Closed),
            signed_out(language, HOSTILE),
            confirm_logout(language, HOSTILE, HOSTILE),
            frame_breakout(language, HOSTILE, HOSTILE, Some(HOSTILE)),
        ]
    }

    #[test]
    fn nothing_breaks_out_of_its_place() {
        for language in Language::ALL {
            for page in pages(language) {
                assert!(!page.body.contains("<script"), "{}", page.body);
                assert!(page.body.contains("&lt;script&gt;"), "{}", page.body);
                assert!(
                    page.body
                        .contains(&format!("<html lang=\"{}\">", language.tag()))
                );
            }
        }
    }

    #[test]
    fn the_languages_differ() {
        let [english, french] = Language::ALL.map(pages);
        for (english, french) in english.iter().zip(&french) {
            let text = |d: &Document| d.body.split_once("<h1>").unwrap().1.to_owned();
            assert_ne!(text(english), text(french));
        }
    }

    #[test]
    fn the_frame_page_opens_the_sign_in_in_the_top_window() {
        let page = frame_breakout(
            Language::English,
            "/wfgen/auth/login?return_to=%2Fa",
            "/a",
            None,
        );
        assert!(!page.body.contains("Try it here"));
        let button =
            "<a class=\"button\" href=\"/wfgen/auth/login?return_to=%2Fa\" target=\"_top\">";
        assert!(page.body.contains(button), "{}", page.body);
        let policy = page.content_security_policy.to_str().unwrap();
        assert!(!policy.contains("frame-ancestors"), "{policy}");
    }

    #[test]
    fn signing_out_from_elsewhere_is_a_post_with_the_token() {
        let page = confirm_logout(
            Language::English,
            "/wfgen/auth/logout?confirm=sealed",
            "/wfgen",
        );
        let form = "<form method=\"post\" action=\"/wfgen/auth/logout?confirm=sealed\">";
        assert!(page.body.contains(form), "{}", page.body);
    }

    #[test]
    fn every_provider_is_offered() {
        let choices = ["Okta", "Entra ID"].map(|label| Choice {
            label: label.into(),
            href: format!("/auth/login?provider={}", label.len()),
        });
        let page = chooser(Language::French, &choices, Policy::Closed).body;
        for choice in &choices {
            let link = format!("href=\"{}\">{}</a>", choice.href, choice.label);
            assert!(page.contains(&link), "{page}");
        }
    }
}
