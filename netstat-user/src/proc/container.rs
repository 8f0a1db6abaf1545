//! Control groups and the containers that they tell of.

/// What /proc/PID/cgroup says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Path of the group: of the unified hierarchy if the process is in a group there, else of the
    /// first hierarchy that it is in a group of.
    pub path: Option<Vec<u8>>,
    /// The container that a path names.
    pub container: Option<Container>,
}

/// A container, as far as a path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// `docker`, `containerd`, `cri-o`, `podman`, `lxc`, `nspawn`; `None` if only its form tells
    /// that it is one.
    pub runtime: Option<&'static str>,
    /// Its id: 64 hexadecimal digits, or a name for lxc and nspawn.
    pub id: String,
    /// The uid of the Kubernetes pod that it belongs to.
    pub pod: Option<String>,
}

/// Prefixes of the scopes that runtimes make under systemd: `PREFIX-ID.scope`.
const SCOPES: &[(&str, &str)] = &[
    ("docker-", "docker"),
    ("cri-containerd-", "containerd"),
    ("nerdctl-", "containerd"),
    ("crio-", "cri-o"),
    ("libpod-", "podman"),
];

/// Reads the text of /proc/PID/cgroup. Lines that make no sense are passed over.
pub(super) fn cgroup(text: &[u8]) -> Cgroup {
    let paths = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        Some((controllers, path))
    });
    let in_group = |path: &&[u8]| path.len() > 1;
    let mut unified = paths
        .clone()
        .filter(|(controllers, _)| controllers.is_empty());
    let unified = unified.next().map(|(_, path)| path);
    let mut all = paths.map(|(_, path)| path);
    let path = unified
        .filter(in_group)
        .or_else(|| all.clone().find(in_group))
        .or(unified);
    Cgroup {
        path: path.map(<[u8]>::to_vec),
        container: all.find_map(container),
    }
}

fn container(path: &[u8]) -> Option<Container> {
    let path = std::str::from_utf8(path).ok()?;
    let parts: Vec<&str> = path.split('/').collect();
    let (depth, (runtime, id)) = parts
        .iter()
        .enumerate()
        .rev()
        .find_map(|(depth, part)| Some((depth, named(part, &parts[..depth])?)))?;
    Some(Container {
        runtime,
        id: id.to_owned(),
        pod: parts[..depth].iter().rev().find_map(|part| pod(part)),
    })
}

/// Runtime and id, if a part of a path names a container; `above` are the parts before it.
fn named<'a>(part: &'a str, above: &[&str]) -> Option<(Option<&'static str>, &'a str)> {
    if is_id(part) {
        let docker = above.contains(&"docker");
        return Some((docker.then_some("docker"), part));
    }
    if let Some(scope) = part.strip_suffix(".scope") {
        let mut known = SCOPES.iter();
        return known.find_map(|(prefix, runtime)| {
            let id = scope.strip_prefix(prefix).filter(|id| is_id(id))?;
            Some((Some(*runtime), id))
        });
    }
    let name = |name: &'a str| (!name.is_empty()).then_some(name);
    if let Some(id) = part.strip_prefix("lxc.payload.").and_then(name) {
        return Some((Some("lxc"), id));
    }
    let unit = part.strip_prefix("systemd-nspawn@")?;
    let id = unit.strip_suffix(".service").and_then(name)?;
    Some((Some("nspawn"), id))
}

fn is_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `podUID`, or `kubepods-…-podUID.slice` with `_` for `-`.
fn pod(part: &str) -> Option<String> {
    let slice = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match slice.strip_prefix("kubepods-") {
        Some(rest) => rest.rsplit_once("pod").map(|(_, uid)| uid)?,
        None => slice.strip_prefix("pod")?,
    };
    (!uid.is_empty()).then(|| uid.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[track_caller]
    fn check(path: &str, expected: Option<(Option<&str>, &str, Option<&str>)>) {
        let found = cgroup(format!("0::{path}\n").as_bytes());
        assert_eq!(found.path.as_deref(), Some(path.as_bytes()));
        let container = found.container.as_ref();
        let seen = container.map(|c| (c.runtime, c.id.as_str(), c.pod.as_deref()));
        assert_eq!(seen, expected, "{path}");
    }

    #[test]
    fn each_runtime_is_known_by_its_path() {
        check(&format!("/docker/{ID}"), Some((Some("docker"), ID, None)));
        check(
            &format!("/system.slice/docker-{ID}.scope"),
            Some((Some("docker"), ID, None)),
        );
        check(
            &format!("/system.slice/docker-{ID}.scope/init.scope"),
            Some((Some("docker"), ID, None)),
        );
        check(
            &format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1a_2b.slice/cri-containerd-{ID}.scope"
            ),
            Some((Some("containerd"), ID, Some("1a-2b"))),
        );
        check(
            &format!("/kubepods/besteffort/pod1a-2b/{ID}"),
            Some((None, ID, Some("1a-2b"))),
        );
        check(
            &format!("/kubepods.slice/kubepods-pod1a.slice/crio-{ID}.scope"),
            Some((Some("cri-o"), ID, Some("1a"))),
        );
        check(
            &format!(
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"
            ),
            Some((Some("podman"), ID, None)),
        );
        check(
            "/lxc.payload.web/system.slice",
            Some((Some("lxc"), "web", None)),
        );
        check(
            "/machine.slice/systemd-nspawn@web.service/payload",
            Some((Some("nspawn"), "web", None)),
        );
    }

    #[test]
    fn what_is_no_container_is_none() {
        check("/", None);
        check("/system.slice/ssh.service", None);
        check(&format!("/user.slice/libpod-conmon-{ID}.scope"), None);
        check("/system.slice/docker-abc.scope", None);
        check("/docker", None);
    }

    #[test]
    fn the_older_hierarchies_are_read_where_the_unified_one_is_empty() {
        let text = format!("12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/\n");
        let found = cgroup(text.as_bytes());
        assert_eq!(found.path, Some(format!("/docker/{ID}").into_bytes()));
        assert!(found.container.is_some());
        assert_eq!(cgroup(b"").path, None);
        assert_eq!(cgroup(b"0::/a:b\n").path, Some(b"/a:b".to_vec()));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let found = cgroup(&text);
            prop_assert!(found.path.is_none_or(|path| !path.contains(&b'\n')));
        }
    }
}
