//! A pod and the network behind it: software that knows of no proxy, the proxy beside it as a user
//! of its own, and servers on the other side.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    certificates::Authority,
    server::{Kind, Server, serve},
    space::Space,
    wait::Watched,
};

/// Whom the proxy runs as.
pub(crate) const PROXY: u32 = 1337;

/// The host that is opened, and one that is not; at the same addresses.
pub(crate) const OPENED: &str = "api.bentley.com";
pub(crate) const OTHER: &str = "other.example";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    /// Where the servers are.
    pub(crate) fn servers(self) -> &'static str {
        match self {
            Self::V4 => "10.244.0.3",
            Self::V6 => "[fd00:244::3]",
        }
    }

    pub(crate) fn loopback(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.1",
            Self::V6 => "[::1]",
        }
    }
}

pub(crate) struct World {
    /// Where the software runs.
    pub(crate) pod: Space,
    /// Where the proxy runs: the same, or a gateway on the way.
    gateway: Option<Space>,
    /// Where the servers are.
    pub(crate) outside: Space,
    /// The real host, which wants a token.
    pub(crate) real: Server,
    /// Whoever is at the original address.
    pub(crate) plain: Server,
    pub(crate) other: Server,
    authority: Authority,
    /// The proxy's, which the software trusts.
    ours: Authority,
    directory: TempDir,
}

impl World {
    /// Software and proxy in one place.
    pub(crate) fn pod() -> Self {
        let (pod, outside) = (Space::new("pod"), Space::new("out"));
        pod.join("out", &outside, "pod");
        for (space, interface, host) in [(&pod, "out", 2), (&outside, "pod", 3)] {
            space.address(interface, &format!("10.244.0.{host}/24"));
            space.address(interface, &format!("fd00:244::{host}/64"));
        }
        Self::new(pod, None, outside)
    }

    /// The proxy on a gateway between the two.
    pub(crate) fn gateway() -> Self {
        let (pod, gateway, outside) = (Space::new("pod"), Space::new("gate"), Space::new("out"));
        pod.join("gate", &gateway, "pod");
        gateway.join("out", &outside, "gate");
        for (space, interface, network, host) in [
            (&pod, "gate", 1, 2),
            (&gateway, "pod", 1, 1),
            (&gateway, "out", 0, 1),
            (&outside, "gate", 0, 3),
        ] {
            space.address(interface, &format!("10.244.{network}.{host}/24"));
            let network = if network == 0 { "244" } else { "245" };
            space.address(interface, &format!("fd00:{network}::{host}/64"));
        }
        pod.ip("route add default via 10.244.1.1");
        pod.ip("-6 route add default via fd00:245::1");
        outside.ip("route add default via 10.244.0.1");
        outside.ip("-6 route add default via fd00:244::1");
        gateway.within(|| {
            // of this namespace alone
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        });
        Self::new(pod, Some(gateway), outside)
    }

    fn new(pod: Space, gateway: Option<Space>, outside: Space) -> Self {
        outside.address("lo", "10.244.9.3/32");
        let authority = Authority::new();
        let real = Kind::Https(authority.issue(OPENED).server(&["http/1.1"]));
        let other = Kind::Https(authority.issue(OTHER).server(&["http/1.1"]));
        let beside = gateway.as_ref().unwrap_or(&pod);
        serve(beside, &["127.0.0.1:9000"], &Kind::Provider);
        serve(&outside, &["10.244.9.3:80"], &Kind::First);
        let world = Self {
            real: serve(&outside, &["10.244.9.3:443"], &real),
            plain: serve(
                &outside,
                &["10.244.0.3:80", "[fd00:244::3]:80"],
                &Kind::Http,
            ),
            other: serve(&outside, &["10.244.0.3:443", "[fd00:244::3]:443"], &other),
            pod,
            gateway,
            outside,
            authority,
            ours: Authority::new(),
            directory: TempDir::new().unwrap(),
        };
        world.route_to_servers();
        world.prepare();
        world
    }

    /// `10.244.9.3` is behind the same machine.
    fn route_to_servers(&self) {
        if self.gateway.is_none() {
            self.pod.ip("route add 10.244.9.3 via 10.244.0.3");
        } else if let Some(gateway) = &self.gateway {
            gateway.ip("route add 10.244.9.3 via 10.244.0.3");
        }
    }

    /// The program and its files, where its user can read them.
    fn prepare(&self) {
        let directory = self.directory.path();
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_itwin-auth-proxy"));
        let here = self.program();
        // the source may be where only its owner looks
        if fs::hard_link(program, &here).is_err() {
            fs::copy(program, &here).unwrap();
        }
        fs::copy(self.authority.file(), self.file("servers.pem")).unwrap();
        fs::set_permissions(self.file("servers.pem"), fs::Permissions::from_mode(0o644)).unwrap();
        let files = [
            (self.authority.file(), "servers.pem"),
            (self.ours.file(), "ca.crt"),
            (self.ours.key_file(), "ca.key"),
        ];
        for (from, name) in files {
            fs::copy(from, self.file(name)).unwrap();
            chown(self.file(name), Some(PROXY), None).unwrap();
        }
        for (name, mode) in [("servers.pem", 0o644), ("ca.crt", 0o644), ("ca.key", 0o600)] {
            fs::set_permissions(self.file(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.file("itwin-auth-proxy")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, config: &Value) -> PathBuf {
        let file = self.file(name);
        // JSON is YAML
        fs::write(&file, config.to_string()).unwrap();
        file
    }

    fn config(&self, listeners: &Value) -> Value {
        let provider = "http://127.0.0.1:9000";
        json!({
            "workers": 1,
            "providers": {"test": {"issuer": provider, "token_endpoint": provider}},
            "credentials": {"agent": {"provider": "test", "client_id": "c", "client_secret": "s"}},
            "interception": {
                "certificate": self.file("ca.crt"),
                "key": self.file("ca.key"),
                "hosts": [OPENED],
            },
            "listeners": listeners,
            "routes": [{
                "hosts": [OPENED],
                "inject": "agent",
                "upstream": {
                    "url": format!("https://{OPENED}"),
                    "tls": {"extra_ca": self.file("servers.pem"), "addresses": ["10.244.9.3:443"]},
                },
            }],
            "limits": {"header_timeout": "1s"},
            "admin": "none",
        })
    }

    /// What only the gateway should reach.
    pub(crate) fn gateway_route_to_metadata(&self) {
        self.outside.ip("address add 169.254.169.254/32 dev lo");
        self.proxys().ip("route add 169.254.169.254 via 10.244.0.3");
    }

    pub(crate) fn trusting_us(&self) -> Arc<ClientConfig> {
        self.ours.client(None, &[])
    }

    pub(crate) fn trusting_them(&self) -> Arc<ClientConfig> {
        self.authority.client(None, &[])
    }

    fn proxys(&self) -> &Space {
        self.gateway.as_ref().unwrap_or(&self.pod)
    }

    /// Starts the proxy with these transparent listeners, as a user without any right but what
    /// `capabilities` say.
    pub(crate) fn proxy(&self, listeners: &Value, capabilities: &str) -> Proxy {
        let mut child = self.start(listeners, capabilities);
        let (log, shown) = (Arc::<Watched<String>>::default(), Shown::default());
        let (from, to, copy) = (child.stderr.take().unwrap(), log.clone(), shown.clone());
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let line = line + "\n";
                *copy.lock() += &line;
                to.update(|text| *text += &line);
            }
        });
        let proxy = Proxy { child, log, shown };
        proxy.line("listening");
        proxy
    }

    fn start(&self, listeners: &Value, capabilities: &str) -> Child {
        let file = self.write("config.yaml", &self.config(listeners));
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={PROXY}"), format!("--regid={PROXY}")]);
        command.args(["--clear-groups"]);
        if !capabilities.is_empty() {
            command.arg(format!("--inh-caps={capabilities}"));
            command.arg(format!("--ambient-caps={capabilities}"));
        }
        command
            .arg(self.program())
            .args(["run", "--config"])
            .arg(file);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        self.proxys().within(|| command.spawn().unwrap())
    }

    /// What a proxy says that does not start.
    pub(crate) fn failing_proxy(&self, listeners: &Value) -> String {
        let output = self.start(listeners, "").wait_with_output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// What `doctor` finds out about the rules for these listeners, with these rights.
    pub(crate) fn doctor(&self, listeners: &Value, capabilities: &str) -> Vec<Value> {
        let file = self.write("config.yaml", &self.config(listeners));
        let mut command = Command::new("setpriv");
        command.args([
            format!("--bounding-set={capabilities}"),
            format!("--inh-caps={capabilities}"),
        ]);
        command
            .arg(self.program())
            .args(["doctor", "--offline", "--json", "--config"]);
        command.arg(file);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let output = self.proxys().output(&mut command);
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let all = answer["findings"].as_array().unwrap().iter();
        all.filter(|one| one["check"] == "rules").cloned().collect()
    }

    /// In a pod, on both loopback addresses.
    pub(crate) fn beside(&self) -> Proxy {
        let listener = |bind: &str| json!({"bind": bind, "mode": "transparent"});
        let listeners = json!([listener("127.0.0.1:15001"), listener("[::1]:15001")]);
        self.proxy(&listeners, "")
    }

    /// `redirect` with these words, where the proxy is.
    pub(crate) fn redirect(&self, words: &str) {
        let output = self.redirect_output(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "redirect {words}: {said}");
    }

    pub(crate) fn redirect_output(&self, words: &str) -> Output {
        let mut command = Command::new(self.program());
        command.arg("redirect").args(words.split(' '));
        self.proxys().output(&mut command)
    }

    /// Runs a script where the proxy is.
    pub(crate) fn sh(&self, script: &str) {
        let mut command = Command::new("sh");
        let output = self.proxys().output(command.args(["-ec", script]));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{said}");
    }

    /// Every rule there, whoever made it.
    pub(crate) fn rules(&self) -> String {
        let script = "nft list ruleset; iptables-legacy-save; ip6tables-legacy-save; \
                      ip rule; ip -6 rule; ip route show table 15001; ip -6 route show table 15001";
        let output = self
            .proxys()
            .output(Command::new("sh").args(["-c", script]));
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        // counters of iptables
        let lines = lines.map(|line| line.split(" [").next().unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// `curl`, by software in the pod that runs as `uid`; what it printed, or its exit code.
    pub(crate) fn curl_as(&self, uid: u32, family: Family, words: &[&str]) -> Result<String, i32> {
        let at = family.servers();
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "15", "--noproxy", "*"]);
        for host in [OPENED, OTHER] {
            for port in [80, 443] {
                command.args(["--resolve", &format!("{host}:{port}:{at}")]);
            }
        }
        command.args(words).uid(uid).gid(uid);
        let output = self.pod.output(&mut command);
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(output.status.code().unwrap())
        }
    }

    pub(crate) fn curl(&self, family: Family, words: &[&str]) -> Result<String, i32> {
        self.curl_as(1000, family, words)
    }

    /// With the certificate of our authority alone.
    pub(crate) fn https_ours(&self, family: Family, host: &str) -> Result<String, i32> {
        self.https(family, host, "ca.crt")
    }

    /// With the certificate of the servers' authority alone.
    pub(crate) fn https_theirs(&self, family: Family, host: &str) -> Result<String, i32> {
        self.https(family, host, "servers.pem")
    }

    fn https(&self, family: Family, host: &str, trusted: &str) -> Result<String, i32> {
        let trusted = self.file(trusted);
        let url = format!("https://{host}/imodels");
        self.curl(family, &["--cacert", trusted.to_str().unwrap(), &url])
    }
}

/// The running proxy; it is killed when dropped.
pub(crate) struct Proxy {
    child: Child,
    log: Arc<Watched<String>>,
    shown: Shown,
}

/// The log for who looks for the reason of a failure, which may have broken the other.
type Shown = Arc<parking_lot::Mutex<String>>;

impl Proxy {
    /// Waits for the first line of the log that says `message`.
    pub(crate) fn line(&self, message: &str) -> Value {
        self.log.wait(message, |text| {
            let mut lines = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            lines.find(|line: &Value| line["message"] == message)
        })
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    pub(crate) fn ended(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let _ = writeln!(io::stderr(), "the proxy's log:\n{}", self.shown.lock());
        }
    }
}

/// All that comes until the end.
pub(crate) fn rest(mut stream: impl Read) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).map(|_| all)
}
