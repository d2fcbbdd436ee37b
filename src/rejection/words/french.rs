//! French.

use super::Texts;
use crate::rejection::Kind;

/// A table, and so longer than a function should be: one arm a kind, in the order of `english`.
pub(super) fn texts(kind: &Kind) -> Texts {
    match kind {
        Kind::BadRequest => Texts {
            title: "La requête n’a pas été comprise",
            explanation: "Votre navigateur ou programme a envoyé une requête mal formée\u{a0}; elle n’a donc pas été transmise à l’application.",
            advice: "Recommencez depuis l’accueil. Si la requête vient d’un programme, son auteur doit vérifier la méthode, l’en-tête Host et la façon dont le corps est envoyé.",
            checks: &[],
        },
        Kind::AmbiguousPath => Texts {
            title: "Cette adresse peut se lire de deux façons",
            explanation: "L’adresse contient un élément que deux systèmes peuvent interpréter différemment\u{a0}: une double barre oblique, une barre oblique inverse, des points entre barres obliques ou une barre oblique encodée. Elle n’a donc pas été transmise à l’application.",
            advice: "Vérifiez l’adresse. Si vous avez suivi un lien, prévenez la personne qui l’a publié.",
            checks: &[],
        },
        Kind::SignInCookieMissing => Texts {
            title: "La connexion n’a pas pu aboutir",
            explanation: "Votre navigateur est revenu de la connexion sans le cookie reçu au départ. Il bloque peut-être les cookies de ce site, ou la connexion a été commencée dans un autre navigateur ou depuis un favori de la page de connexion.",
            advice: "Recommencez. Si cela ne suffit pas, autorisez les cookies de ce site.",
            checks: &[
                "Le cookie est `Secure` dès que `server.public_url` est en https\u{a0}: qui arrive en http simple ne le renvoie jamais",
                "La page doit être ouverte sous l’hôte de `server.public_url`\u{a0}: le cookie d’un autre hôte ne suit pas",
                "Si l’application est affichée dans le cadre d’un autre site, `session.same_site` doit valoir \"none\"",
            ],
        },
        Kind::ForeignSignIn => Texts {
            title: "Cette connexion n’a pas commencé ici",
            explanation: "La réponse du fournisseur de connexion ne correspond à aucune connexion commencée par ce navigateur\u{a0}; elle n’a donc pas été utilisée. Vous avez peut-être ouvert un lien destiné à un autre navigateur, ou quelqu’un a pu tenter de vous connecter sous un nom qui n’est pas le vôtre.",
            advice: "Recommencez à partir d’ici.",
            checks: &[],
        },
        Kind::SignInUsed => Texts {
            title: "Cette connexion a déjà servi",
            explanation: "Chaque connexion ne sert qu’une fois, et celle-ci a déjà été utilisée. Le bouton Précédent ou l’actualisation de la page en sont la cause habituelle.",
            advice: "Recommencez\u{a0}: si votre session est encore ouverte, vous continuerez directement.",
            checks: &[],
        },
        Kind::FormNotKept => Texts {
            title: "Votre envoi n’a pas été enregistré",
            explanation: "Votre session avait pris fin entre-temps : votre envoi n’a donc pas été transmis, et il n’a pas pu être conservé non plus.",
            advice: "Connectez-vous dans une autre fenêtre, revenez ici avec le bouton Précédent du navigateur, puis envoyez de nouveau.",
            checks: &[
                "Les formulaires jusqu’à `session.kept_form_size` sont conservés le temps de la connexion ; la ligne du journal portant cet identifiant dit pourquoi celui-ci ne l’a pas été",
            ],
        },
        Kind::FormGone => Texts {
            title: "Il n’y a plus rien à envoyer",
            explanation: "Ce que vous aviez envoyé avant de vous connecter a déjà été transmis, ou bien a été conservé trop longtemps et supprimé.",
            advice: "Vérifiez dans l’application si l’envoi est arrivé avant de le saisir de nouveau.",
            checks: &[
                "Les formulaires sont conservés pendant `session.kept_form_lifetime` et transmis une seule fois",
            ],
        },
        Kind::FormOfAnother => Texts {
            title: "Quelqu’un d’autre a rempli ce formulaire",
            explanation: "Avant votre connexion, un formulaire a été envoyé depuis ce navigateur au nom d’une autre personne. Il n’a pas été transmis au vôtre et a été supprimé.",
            advice: "Continuez depuis la page d’accueil.",
            checks: &[],
        },
        Kind::SignInNeeded => Texts {
            title: "Aucune session n’est ouverte",
            explanation: "Vous n’avez pas encore ouvert de session, ou elle a pris fin. La requête n’a pas été transmise à l’application, et rien de ce que vous avez envoyé n’a été enregistré.",
            advice: "Connectez-vous, puis renvoyez-la.",
            checks: &[],
        },
        Kind::AccessTokenNeeded => Texts {
            title: "Un jeton d’accès est requis",
            explanation: "Cette adresse est destinée aux programmes qui envoient un jeton d’accès du fournisseur de connexion, et la requête n’en porte pas. Elle n’a pas été transmise.",
            advice: "Envoyez le jeton dans le champ Authorization, avec le schéma Bearer.",
            checks: &["La route de ce chemin dans proxy.toml a `access = \"bearer\"`"],
        },
        Kind::AccessTokenMalformed => Texts {
            title: "Le jeton d’accès est illisible",
            explanation: "La requête ne porte pas un seul jeton d’accès dans un seul champ Authorization\u{a0}; elle n’a donc pas été transmise.",
            advice: "Envoyez-le une seule fois dans ce champ, avec le schéma Bearer et tel que le fournisseur l’a donné.",
            checks: &[],
        },
        Kind::AccessTokenInvalid { .. } => Texts {
            title: "Le jeton d’accès n’est pas accepté",
            explanation: "Le jeton d’accès a expiré, ou n’est pas un jeton du fournisseur de connexion de ce site pour cette application. La requête n’a pas été transmise.",
            advice: "Demandez au fournisseur un nouveau jeton, pour l’audience de cette application.",
            checks: &[
                "La ligne du journal portant cet identifiant nomme le contrôle, ce qui était attendu et ce qui a été trouvé",
                "`access_token_audience` du fournisseur doit être l’`aud` du jeton, `issuer` son `iss`, et `algorithms` doit contenir son `alg`",
            ],
        },
        Kind::AccessTokenInsufficient { .. } => Texts {
            title: "Le jeton d’accès n’ouvre pas cette adresse",
            explanation: "Le jeton d’accès est valable, mais ce site n’admet pas ici celui qu’il nomme.",
            advice: "Réessayer avec le même jeton n’y changerait rien. Adressez-vous à l’administrateur de ce site.",
            checks: &[
                "`vestibule users show USERNAME` montre l’état et les identités d’un utilisateur\u{a0}; se connecter une fois, ou `users bind`, en lie une",
                "La revendication qui nomme l’utilisateur est `access_token_username_claim`\u{a0}; sans elle, le jeton est celui d’une machine et demande une route avec `machine = true`",
            ],
        },
        Kind::RouteDenied => Texts {
            title: "Cette adresse est fermée",
            explanation: "L’exploitant de ce site a fermé cette adresse à tout le monde. Un autre compte n’y changerait rien.",
            advice: "Si vous avez besoin de ce qui s’y trouve, adressez-vous à votre administrateur.",
            checks: &[],
        },
        Kind::RuleDenied => Texts {
            title: "Pas pour votre compte",
            explanation: "Vous êtes connecté, mais une règle de ce site n’autorise pas votre compte à ouvrir cette page.",
            advice: "Si vous devriez y avoir accès, adressez-vous à votre administrateur. Une modification de votre compte prend effet à la prochaine connexion.",
            checks: &[
                "La route de ce chemin dans proxy.toml a un `require`, évalué sur les revendications de la personne lors de sa connexion",
            ],
        },
        Kind::ForeignOrigin => Texts {
            title: "Un autre site l’a demandé",
            explanation: "Une page d’un autre site a essayé de modifier quelque chose ici en votre nom, et ce site ne connaît pas cette page. La requête n’a pas été transmise, et rien n’a été modifié.",
            advice: "Si c’était votre intention, faites-le dans l’application elle-même.",
            checks: &[
                "`session.same_site` vaut \"none\"\u{a0}: `session.trusted_origins` doit énumérer les origines des portails qui envoient des formulaires ici ou ouvrent des connexions",
            ],
        },
        Kind::ProviderRefused { .. } => Texts {
            title: "Le fournisseur a refusé la connexion",
            explanation: "Le fournisseur de connexion a mis fin à la connexion par une erreur. Vous l’avez peut-être annulée, ou votre compte n’y a pas accès à cette application.",
            advice: "Utilisez un autre compte ou réessayez. Si cela persiste, demandez à votre administrateur de vous donner accès à cette application chez le fournisseur.",
            checks: &[],
        },
        Kind::ClientRefused { .. } => Texts {
            title: "Le fournisseur ne reconnaît pas cette installation",
            explanation: "Vous vous êtes connecté, mais le fournisseur de connexion a refusé ce par quoi cette installation s’identifie. Vous n’y êtes pour rien, et personne d’autre ne peut se connecter non plus.",
            advice: "Prévenez votre administrateur. Réessayer sera utile une fois la configuration corrigée.",
            checks: &[
                "La ligne du journal portant cet identifiant dit ce qu’il faut comparer avec l’enregistrement chez le fournisseur",
                "Avec un secret\u{a0}: il a pu y expirer, ou `client_secret`, `client_id` ou `client_authentication` diffère",
                "Avec `private_key`\u{a0}: la clé que `vestibule keys public` affiche doit y être enregistrée, ou son certificat, et les horloges doivent concorder\u{a0}; `vestibule check --online` regarde les deux côtés",
            ],
        },
        Kind::TokenInvalid { .. } => Texts {
            title: "La connexion n’a pas pu être vérifiée",
            explanation: "La réponse du fournisseur de connexion n’a pas passé les contrôles qui empêchent d’autres personnes de se connecter à votre place. Vous n’y êtes pour rien.",
            advice: "Réessayez une fois. Si cela se répète, prévenez votre administrateur.",
            checks: &[
                "La ligne du journal portant cet identifiant nomme le contrôle, ce qui était attendu et ce qui a été trouvé",
                "`vestibule check --online` compare les horloges et la description du fournisseur avec la configuration",
            ],
        },
        Kind::Conflict => Texts {
            title: "Ce nom d’utilisateur appartient à un autre compte",
            explanation: "La connexion a réussi, mais le nom d’utilisateur de votre compte est déjà lié à un autre compte ici. Pour protéger son titulaire, personne d’autre n’est admis sous ce nom.",
            advice: "Utilisez un autre compte si vous en avez plusieurs. Si ce nom est le vôtre, par exemple parce que votre compte a été recréé, adressez-vous à votre administrateur.",
            checks: &[
                "`vestibule users show USERNAME --history` montre les identités (émetteur et sujet) auxquelles le nom est lié, et qui s’est présenté sous ce nom",
                "Un utilisateur sans identité n’est repris que si `adopt` de son annuaire le permet",
            ],
        },
        Kind::Inactive => Texts {
            title: "Votre compte attend d’être activé",
            explanation: "La connexion a réussi et ce site vous connaît, mais votre compte n’est pas actif.",
            advice: "Demandez à votre administrateur de l’activer, puis réessayez.",
            checks: &[],
        },
        Kind::Refused { .. } => Texts {
            title: "Votre compte n’a pas été accepté",
            explanation: "La connexion a réussi, mais les règles de l’annuaire de ce site n’admettent pas ce compte.",
            advice: "Montrez cette page à votre administrateur, ou utilisez un autre compte.",
            checks: &[
                "`vestibule explain --claims FILE` montre, champ par champ et sans rien écrire, ce que l’annuaire fait des revendications d’une personne",
            ],
        },
        Kind::TokenTooLarge => Texts {
            title: "Votre compte contient trop d’informations",
            explanation: "La connexion a réussi, mais ce que le fournisseur de connexion dit de vous ne tient pas dans un cookie de session. C’est à l’administrateur d’y remédier, pas à vous.",
            advice: "Prévenez votre administrateur. Réessayer ne sert qu’une fois un changement fait.",
            checks: &[
                "De longues listes de groupes en sont la cause habituelle\u{a0}: que le fournisseur en envoie moins, ou seulement celles qui servent à cette application",
                "Les revendications utilisées par une correspondance ou un en-tête ne sont jamais omises\u{a0}; `session.claims` peut énumérer ce que le jeton porte en plus",
            ],
        },
        Kind::LoopCookieLost => Texts {
            title: "La connexion ne tient pas",
            explanation: "La connexion a réussi plusieurs fois en une demi-minute, et chaque fois votre navigateur est revenu sans le cookie de session. Pour ne pas vous faire tourner en rond, on s’arrête ici.",
            advice: "Autorisez les cookies de ce site, puis réessayez. Si cela se répète, montrez cette page à votre administrateur.",
            checks: &[
                "Le cookie est `Secure` dès que `server.public_url` est en https\u{a0}: un navigateur qui arrive en http simple le rejette",
                "Le chemin du cookie est exactement celui de `server.public_url`\u{a0}: la page doit se trouver en dessous",
                "La page doit être ouverte sous l’hôte de `server.public_url`, et rien devant ce serveur ne doit retirer `Set-Cookie`",
                "Dans le cadre d’un autre site, le navigateur bloque le cookie si `session.same_site` ne vaut pas \"none\", ou le bloque dans tous les cas",
                "Une horloge décalée de plus que la durée d’une session met fin à chaque session aussitôt",
            ],
        },
        Kind::LoopApplication => Texts {
            title: "L’application n’accepte pas la connexion",
            explanation: "Votre session est ouverte et valable, mais l’application vous a renvoyé à la connexion plusieurs fois en une demi-minute. Pour ne pas vous faire tourner en rond, on s’arrête ici. Vous n’y êtes pour rien.",
            advice: "Réessayez plus tard, ou montrez cette page à votre administrateur.",
            checks: &[
                "Le premier secret de `session.keys` doit être, octet pour octet, le `ApplicationSecurityAuthSessionTokenSigningSecret` de l’application",
                "`session.issuer` et `session.audience` doivent être ceux que l’application attend, `session.algorithm` celui qu’elle vérifie",
                "L’application doit connaître le nom d’utilisateur (`session.username_claim`), et l’utilisateur doit y être actif",
                "`session.cookie` doit être le nom que lit l’application, et `upstream.identity.session_cookie` doit valoir \"forward\"",
                "Les horloges des deux machines doivent concorder",
            ],
        },
        Kind::NotFound => Texts {
            title: "Il n’y a rien à cette adresse",
            explanation: "Ni l’application ni la connexion ne répondent à cette adresse.",
            advice: "Vérifiez l’adresse, ou continuez depuis l’accueil.",
            checks: &[],
        },
        Kind::MethodNotAllowed { .. } => Texts {
            title: "Cette action n’est pas possible à cette adresse",
            explanation: "L’adresse existe, mais la requête est arrivée avec une méthode qu’elle n’admet pas.",
            advice: "Continuez depuis l’accueil.",
            checks: &[],
        },
        Kind::RequestTimeout => Texts {
            title: "La requête a mis trop de temps à arriver",
            explanation: "La requête n’est pas arrivée en entier à temps\u{a0}; elle n’a donc pas été transmise. Une liaison lente ou interrompue en est la cause habituelle.",
            advice: "Réessayez quand la liaison sera meilleure.",
            checks: &[],
        },
        Kind::BodyTooLarge => Texts {
            title: "Votre envoi est trop volumineux",
            explanation: "Le fichier ou le formulaire envoyé dépasse ce que ce site accepte\u{a0}; il n’a pas été transmis et rien n’en a été enregistré.",
            advice: "Envoyez quelque chose de plus petit, ou demandez à votre administrateur de relever la limite.",
            checks: &["La limite est `server.limits.body_size`"],
        },
        Kind::UnknownExpectation => Texts {
            title: "La requête attend quelque chose d’inconnu",
            explanation: "Le programme qui a envoyé la requête demande un comportement que ce site ne connaît pas\u{a0}; la requête n’a donc pas été transmise.",
            advice: "Utilisez un navigateur ou un programme à jour.",
            checks: &["De l’en-tête `Expect`, seul `100-continue` a un sens"],
        },
        Kind::WrongHost => Texts {
            title: "Ce n’est pas l’adresse de l’application",
            explanation: "La requête nomme un hôte que ce serveur ne sert pas. L’adresse est peut-être mal écrite ou périmée.",
            advice: "Allez à l’accueil et renouvelez votre favori.",
            checks: &[
                "`server.public_url` nomme l’hôte, `server.aliases` en énumère d’autres",
                "Derrière un autre proxy, soit celui-ci transmet l’en-tête Host, soit son adresse est dans `server.trusted_proxies` et il envoie `X-Forwarded-Host`",
            ],
        },
        Kind::HeaderTooLarge => Texts {
            title: "La requête est trop chargée",
            explanation: "Votre navigateur a envoyé plus de champs d’en-tête que ce serveur n’en accepte. Un trop grand nombre de cookies en est la cause habituelle.",
            advice: "Supprimez les cookies de ce site, puis continuez depuis l’accueil.",
            checks: &[],
        },
        Kind::ApplicationUnreachable => Texts {
            title: "L’application ne répond pas",
            explanation: "L’application derrière cette page est injoignable, ou elle s’est interrompue au milieu de sa réponse. Vous n’y êtes pour rien, et une session ouverte le reste.",
            advice: "Réessayez dans un moment. Si vous étiez en train d’enregistrer ou d’envoyer quelque chose, vérifiez d’abord si c’est arrivé.",
            checks: &[
                "Les adresses essayées sont celles de `upstream.servers`\u{a0}; la ligne du journal portant cet identifiant dit ce qui s’est passé",
                "`vestibule check --online` les essaie aussi",
            ],
        },
        Kind::ConnectionSignIn => Texts {
            title: "L’application demande sa propre connexion",
            explanation: "L’application derrière cette page a demandé une authentification Windows (NTLM ou Negotiate). Celle-ci vaut pour toute une liaison, et les liaisons sont partagées ici\u{a0}: une personne serait prise pour une autre. C’est pourquoi tout s’arrête ici. Vous n’y êtes pour rien, et une session ouverte le reste.",
            advice: "Prévenez votre administrateur. Réessayer n’aide qu’après un changement.",
            checks: &[
                "Dans IIS, l’authentification Windows doit être désactivée pour ce chemin et l’authentification anonyme activée\u{a0}; l’authentification de base peut l’être pour les chemins «\u{a0}open\u{a0}»",
                "La ligne du journal portant cet identifiant nomme le serveur et le procédé",
            ],
        },
        Kind::ProviderDown { .. } => Texts {
            title: "La connexion est impossible pour l’instant",
            explanation: "Le fournisseur de connexion ne répond pas. Vous n’y êtes pour rien. Les personnes déjà connectées peuvent continuer à travailler.",
            advice: "Réessayez dans un moment.",
            checks: &[
                "Le journal dit pourquoi\u{a0}; `vestibule check --online` interroge le fournisseur maintenant",
                "Rien n’est à redémarrer\u{a0}: les connexions reprennent dès que le fournisseur répond",
            ],
        },
        Kind::StoreDown => Texts {
            title: "La connexion est impossible pour l’instant",
            explanation: "L’annuaire qui connaît les utilisateurs de ce site ne répond pas. Vous n’y êtes pour rien. Les personnes déjà connectées peuvent continuer à travailler.",
            advice: "Réessayez dans un moment.",
            checks: &[
                "Le journal dit pourquoi\u{a0}: le plus souvent un disque plein, ou des droits sur le fichier de `store.url`",
            ],
        },
        Kind::ReceiverDown => Texts {
            title: "Votre compte n’est pas encore prêt",
            explanation: "La connexion a réussi, mais l’application doit d’abord apprendre à vous connaître, et elle ne répond pas. Vous n’y êtes pour rien. Les personnes qui y travaillent déjà peuvent continuer.",
            advice: "Réessayez dans un moment.",
            checks: &[
                "Le journal dit ce qu’a répondu le destinataire de `directories.push`, et `vestibule check --online` l’interroge",
            ],
        },
        Kind::ApplicationSlow => Texts {
            title: "L’application met trop de temps",
            explanation: "L’application derrière cette page n’a pas répondu à temps. Elle traite peut-être encore votre demande. Vous n’y êtes pour rien, et une session ouverte le reste.",
            advice: "Si vous étiez en train d’enregistrer ou d’envoyer quelque chose, vérifiez d’abord si c’est arrivé. Sinon, réessayez dans un moment.",
            checks: &["La limite est `upstream.response_timeout`"],
        },
    }
}
