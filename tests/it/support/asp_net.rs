//! A real ASP.NET pipeline with the module of `integrations/workflowgen` in it: Mono behind nginx, as
//! IIS would host it. Both end with their test.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::wire::get;
use super::{free_port, wait_for};

/// Mono compiles the first page of each application, on a machine that compiles other things too.
const SLOWEST_START: Duration = Duration::from_secs(60);

/// As `web.config` names the slot, and as Mono reads it. Mono answers an empty 200 where its request
/// validation objects to a cookie, before any module runs: left to pages, it hides nothing from the module.
const WEB_CONFIG: &str = r#"<?xml version="1.0"?>
<configuration>
  <appSettings>
{settings}  </appSettings>
  <system.web>
    <compilation debug="false"/>
    <customErrors mode="Off"/>
    <httpRuntime requestValidationMode="2.0"/>
    <httpModules>
      <add name="ApplicationSecurityAuthenticationModule"
           type="Vestibule.WorkflowGen.IdentityModule, Vestibule.WorkflowGen"/>
    </httpModules>
  </system.web>
</configuration>
"#;

const PAGE: &str = r#"<%@ Page Language="C#" EnableSessionState="false" %>
<html><body><p>User: <b><%: User.Identity.Name %></b>
<p>AUTH_USER: <i><%: Request.ServerVariables["AUTH_USER"] %></i></body></html>
"#;

const NGINX: &str = r#"daemon off;
master_process off;
error_log stderr crit;
pid nginx.pid;
events {}
http {
  access_log off;
  keepalive_requests 1000000;
  large_client_header_buffers 4 64k;
  client_body_temp_path temp; fastcgi_temp_path temp; proxy_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
  server {
    listen {address};
    location / {
      fastcgi_pass {mono};
      fastcgi_param SCRIPT_NAME $fastcgi_script_name;
      fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
      fastcgi_param PATH_INFO "";
      fastcgi_param REQUEST_URI $request_uri;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param SERVER_NAME localhost;
      fastcgi_param SERVER_PORT $server_port;
      fastcgi_param SERVER_PROTOCOL $server_protocol;
      fastcgi_param REMOTE_ADDR $remote_addr;
    }
  }
}
"#;

/// An ASP.NET application: its path, and what stands in its folder.
pub(crate) struct Site<'a> {
    /// Such as `/wfgen`.
    pub(crate) path: &'a str,
    /// The appSettings of its web.config.
    pub(crate) settings: &'a [(&'a str, &'a str)],
    /// Files beside it.
    pub(crate) files: &'a [(&'a str, &'a str)],
}

/// Applications that run. Ask them with a literal address as Host: Mono looks names up, for five seconds each.
pub(crate) struct AspNet {
    mono: Child,
    nginx: Child,
    folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
}

impl AspNet {
    /// Builds the module and starts the sites.
    #[track_caller]
    pub(crate) fn start(sites: &[Site<'_>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let module = folder.path().join("Vestibule.WorkflowGen.dll");
        build(&module);
        for site in sites {
            install(&module, &folder.path().join(&site.path[1..]), site);
        }
        let mut named = Vec::new();
        for Site { path, .. } in sites {
            named.push(format!("{path}:{}{path}", folder.path().display()));
        }
        let behind = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mono = start(
            Command::new("fastcgi-mono-server4")
                .arg(format!("/applications={}", named.join(",")))
                .arg(format!("/socket=tcp:{behind}"))
                .env("TMPDIR", folder.path()),
            folder.path(),
        );
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let configuration = NGINX
            .replace("{address}", &address.to_string())
            .replace("{mono}", &behind.to_string());
        std::fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
        let nginx = start(
            Command::new("/usr/sbin/nginx")
                .args(["-e", "stderr", "-c", "nginx.conf", "-p"])
                .arg(folder.path()),
            folder.path(),
        );
        let started = Self {
            mono,
            nginx,
            folder,
            address,
        };
        // Asked through nginx: a bare connection to Mono would be a broken one to it.
        wait_for("Mono behind nginx", SLOWEST_START, || {
            TcpStream::connect(address).ok()?;
            let answer = get(address, "localhost", &format!("{}/", sites[0].path), "");
            (answer.status != 502).then_some(())
        });
        started
    }

    /// Both still run.
    pub(crate) fn runs(&mut self) -> bool {
        [&mut self.mono, &mut self.nginx]
            .into_iter()
            .all(|child| child.try_wait().is_ok_and(|ended| ended.is_none()))
    }

    /// What Mono and nginx wrote.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for AspNet {
    fn drop(&mut self) {
        for child in [&mut self.nginx, &mut self.mono] {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("── Mono and nginx ──\n{}", self.log());
        }
    }
}

/// As its first lines say; C# 5 is what the framework's own compiler knows.
#[track_caller]
fn build(module: &Path) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("integrations/workflowgen");
    let built = Command::new("mcs")
        .args([
            "-langversion:5",
            "-warnaserror",
            "-warn:4",
            "-target:library",
            "-optimize",
        ])
        .args(["-r:System.Web.dll", "-r:System.Configuration.dll"])
        .arg(format!("-out:{}", module.display()))
        .arg(folder.join("VestibuleIdentityModule.cs"))
        .output()
        .unwrap_or_else(|fault| panic!("mcs does not start ({fault}): run tests/run"));
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "the module does not build: {said}");
}

fn install(module: &Path, folder: &Path, site: &Site<'_>) {
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    std::fs::copy(module, folder.join("bin/Vestibule.WorkflowGen.dll")).unwrap();
    let mut settings = String::new();
    for (key, value) in site.settings {
        let _ = writeln!(settings, "    <add key=\"{key}\" value=\"{value}\"/>");
    }
    let configuration = WEB_CONFIG.replace("{settings}", &settings);
    std::fs::write(folder.join("web.config"), configuration).unwrap();
    std::fs::write(folder.join("who.aspx"), PAGE).unwrap();
    for (name, text) in site.files {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

#[track_caller]
fn start(command: &mut Command, folder: &Path) -> Child {
    let log = std::fs::File::options()
        .append(true)
        .create(true)
        .open(folder.join("log"))
        .unwrap();
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|fault| panic!("{command:?} does not start ({fault}): run tests/run"))
}
