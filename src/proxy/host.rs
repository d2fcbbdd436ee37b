//! Which host a request may ask for: that of `public_url`, an alias, or none (RFC 9110 7.4).

use crate::config;

/// Whose host it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    /// That of `public_url`.
    Public,
    /// One of `server.aliases`.
    Alias,
    /// Nobody's here: 421.
    Foreign,
}

pub(super) struct Hosts {
    public: String,
    aliases: Vec<String>,
    default_port: &'static str,
}

impl Hosts {
    pub(super) fn new(server: &config::Server) -> Self {
        Self {
            public: server.public_url.authority.clone(),
            aliases: server.aliases.clone(),
            default_port: if server.public_url.https {
                ":443"
            } else {
                ":80"
            },
        }
    }

    /// Compares without case, the scheme's default port and a trailing dot.
    pub(super) fn judge(&self, host: Option<&str>) -> Host {
        let Some(host) = host else {
            return Host::Foreign;
        };
        if host == self.public {
            return Host::Public;
        }
        let host = self.normalised(host);
        match (host == self.public, self.aliases.contains(&host)) {
            (true, _) => Host::Public,
            (_, true) => Host::Alias,
            _ => Host::Foreign,
        }
    }

    /// What the log says of a foreign host.
    pub(super) fn expected(&self, found: Option<&str>) -> String {
        let (wanted, found) = (&self.public, found.unwrap_or("none, or several"));
        format!("expected host {wanted}, found {found:?}; other names go into server.aliases")
    }

    fn normalised(&self, host: &str) -> String {
        let host = host.to_ascii_lowercase();
        let bare = host.strip_suffix(self.default_port).unwrap_or(&host);
        match bare
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        {
            Some((name, port)) => format!("{}:{port}", name.strip_suffix('.').unwrap_or(name)),
            None => bare.strip_suffix('.').unwrap_or(bare).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_default_port_and_trailing_dot_do_not_matter() {
        let hosts = Hosts {
            public: "workflow.example.com".into(),
            aliases: vec!["old.example.com".into(), "old.example.com:8443".into()],
            default_port: ":443",
        };
        for host in [
            "workflow.example.com",
            "Workflow.Example.COM",
            "workflow.example.com:443",
            "workflow.example.com.:443",
            "workflow.example.com.",
        ] {
            assert_eq!(hosts.judge(Some(host)), Host::Public, "{host}");
        }
        assert_eq!(hosts.judge(Some("OLD.example.com.:8443")), Host::Alias);
        for host in [
            "workflow.example.com:80",
            "evil.example",
            "workflow.example.com.evil",
            "",
            "a, b",
            "workflow.example.com/x",
            "[::1]",
        ] {
            assert_eq!(hosts.judge(Some(host)), Host::Foreign, "{host}");
        }
        assert_eq!(hosts.judge(None), Host::Foreign);
    }
}
