//! The system's files, played in a directory of their own, and names that need no server.

use super::*;
use std::fs;
use std::path::PathBuf;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fluidity-resolve-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }

    fn resolver(&self, servers: &[&str]) -> Resolver {
        let servers: Vec<_> = servers
            .iter()
            .map(|text| NameServer::try_from((*text).to_owned()).unwrap())
            .collect();
        let options = ResolverOptions {
            timeout: Duration::from_millis(200),
            cache_entries: 10,
            servers,
        };
        let files = Files {
            resolv: options.servers.is_empty().then(|| self.0.join("resolv")),
            hosts: self.0.join("hosts"),
        };
        Resolver::of(&options, files)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn addresses(resolver: &Resolver, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let host = Host::parse(name).unwrap();
    resolver.resolve(&host).await.map(|found| found.addresses)
}

/// As if the last look was a while ago.
fn let_time_pass(resolver: &Resolver) {
    let mut state = resolver.lock();
    state.looked = state.looked.checked_sub(LOOK_EVERY).unwrap();
}

#[tokio::test]
async fn files_that_change_are_seen() {
    let dir = Dir::new("change");
    let resolver = dir.resolver(&[]);
    assert!(
        resolver.lock().names.are_without_servers(),
        "a missing file is no error"
    );
    dir.write("hosts", "192.0.2.1 added\n");
    dir.write("resolv", "nameserver 127.0.0.1:1\nsearch lan\n");
    let_time_pass(&resolver);
    assert_eq!(
        addresses(&resolver, "Added").await,
        Ok(vec![[192, 0, 2, 1].into()])
    );
    let names = resolver.lock().names.clone();
    assert_eq!(names.system.search, ["lan"]);
    // The same again, under another date: what is known stays known.
    dir.write("hosts", "192.0.2.1 added\n");
    let_time_pass(&resolver);
    assert!(addresses(&resolver, "added").await.is_ok());
    assert!(Arc::ptr_eq(&names, &resolver.lock().names));
    resolver.look_again().await;
    assert!(
        !Arc::ptr_eq(&names, &resolver.lock().names),
        "told to look: nothing stays"
    );
    fs::remove_file(dir.0.join("hosts")).unwrap();
    fs::remove_file(dir.0.join("resolv")).unwrap();
    let_time_pass(&resolver);
    assert_eq!(addresses(&resolver, "localhost").await.unwrap().len(), 2);
    assert!(matches!(
        addresses(&resolver, "added").await,
        Err(ResolveError::NoServers | ResolveError::NotFound)
    ));
}

#[tokio::test]
async fn where_servers_are_configured_the_systems_are_not_asked() {
    let dir = Dir::new("configured");
    dir.write("resolv", "nameserver 192.0.2.1\nsearch lan\n");
    let resolver = dir.resolver(&["127.0.0.1:1"]);
    let names = resolver.names().await;
    assert_eq!(names.system.servers, ["127.0.0.1:1".parse().unwrap()]);
    assert!(names.system.search.is_empty());
    assert_eq!(addresses(&resolver, "db").await, Err(ResolveError::Unreachable));
}

#[tokio::test]
async fn names_with_a_meaning_of_their_own_need_no_server() {
    let dir = Dir::new("special");
    dir.write("hosts", "192.0.2.1 localhost a.localhost\n");
    let resolver = dir.resolver(&["127.0.0.1:1"]);
    for name in ["localhost", "a.LocalHost.", "deep.a.localhost"] {
        let found = addresses(&resolver, name).await.unwrap();
        assert!(
            found.len() == 2 && found.iter().all(IpAddr::is_loopback),
            "{name}: {found:?}"
        );
    }
    dir.write("hosts", "127.0.0.1 localhost\n192.0.2.1 localhost\n");
    resolver.look_again().await;
    for name in ["localhost", "below.localhost"] {
        assert_eq!(
            addresses(&resolver, name).await,
            Ok(vec![[127, 0, 0, 1].into()]),
            "as the hosts file has it, but this machine: {name}"
        );
    }
    for name in ["a.invalid", "a.onion"] {
        assert_eq!(addresses(&resolver, name).await, Err(ResolveError::NotFound));
    }
}

#[test]
fn a_text_that_names_no_name_server_is_refused() {
    for text in ["", "dns.example", "9.9.9", "9.9.9.9:x", "::1:53x"] {
        assert!(NameServer::try_from(text.to_owned()).is_err(), "{text}");
    }
}
