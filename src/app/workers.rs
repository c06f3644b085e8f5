//! How many data-plane threads there are, and why so many.
//!
//! What is configured counts; otherwise the CPU limit of the cgroup, rounded up, and never more
//! than the CPUs that this process may run on. Rounded up: within each period of the kernel's
//! accounting, two threads that share 1.5 CPUs have at every moment done at least as much as one
//! thread would have. `available_parallelism` rounds down, does not say why, and sees no
//! limit where `/sys/fs/cgroup` is mounted otherwise than it expects, as in a container that
//! shares the host's cgroup namespace: it would start a thread for each CPU of the host.

use std::{
    fmt, fs,
    num::NonZeroUsize,
    path::{Component, Path, PathBuf},
    thread,
};

/// Enough for any machine, and a stop for a limit that is nonsense.
const MOST: usize = 1024;

/// The number of data-plane threads. Displays with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    pub count: NonZeroUsize,
    reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Configured,
    Limit(CpuLimit),
    /// No limit, or a higher one.
    Cpus,
}

impl Workers {
    /// As configured, or else as many as this machine or container is for.
    pub fn new(configured: Option<NonZeroUsize>) -> Self {
        if let Some(count) = configured {
            let reason = Reason::Configured;
            return Self { count, reason };
        }
        let limit = CpuLimit::of_this_process(|path| fs::read_to_string(path).ok());
        Self::within(limit, cpus())
    }

    fn within(limit: Option<CpuLimit>, cpus: usize) -> Self {
        let (count, reason) = match limit {
            Some(limit) if limit < CpuLimit(cpus as u64 * 1000) => {
                (limit.rounded_up(), Reason::Limit(limit))
            }
            _ => (cpus, Reason::Cpus),
        };
        Self {
            count: NonZeroUsize::new(count.min(MOST)).unwrap_or(NonZeroUsize::MIN),
            reason,
        }
    }

    pub fn reason(&self) -> impl fmt::Display {
        self.reason
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count.get() == 1 { "" } else { "s" };
        write!(f, "{} worker{plural}: {}", self.count, self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("configured"),
            Self::Limit(limit) => write!(f, "CPU limit of the cgroup, {limit}"),
            Self::Cpus => f.write_str("CPUs that this process may use"),
        }
    }
}

/// The CPUs that the kernel would schedule us on: cpusets and `taskset`.
#[cfg(target_os = "linux")]
fn cpus() -> usize {
    rustix::thread::sched_getaffinity(None).map_or_else(
        // more CPUs than the call has room for
        |_| thread::available_parallelism().map_or(1, NonZeroUsize::get),
        |cpus| cpus.count() as usize,
    )
}

#[cfg(not(target_os = "linux"))]
fn cpus() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// CPU time per time, in thousandths of a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct CpuLimit(u64);

impl CpuLimit {
    /// The tightest limit of this process's cgroup and those above it, as far as they can be seen,
    /// in every hierarchy that limits CPU time. `read` gives the contents of a file.
    fn of_this_process(read: impl Fn(&Path) -> Option<String>) -> Option<Self> {
        let groups = read(Path::new("/proc/self/cgroup"))?;
        let mounts = read(Path::new("/proc/self/mountinfo"))?;
        let mounts = mounts.lines().filter_map(Mount::parse);
        let limits = mounts.filter_map(|mount| {
            let group = mount.version.group(&groups)?;
            mount
                .directories(group)
                .filter_map(|directory| mount.version.limit(&directory, &read))
                .min()
        });
        limits.min()
    }

    fn new(quota: u64, period: u64) -> Option<Self> {
        let thousandths = quota.saturating_mul(1000).checked_div(period)?;
        Some(Self(thousandths.max(1)))
    }

    fn rounded_up(self) -> usize {
        usize::try_from(self.0.div_ceil(1000)).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for CpuLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:03}", self.0 % 1000);
        let (whole, fraction) = (self.0 / 1000, fraction.trim_end_matches('0'));
        match (whole, fraction) {
            (1, "") => f.write_str("1 CPU"),
            (_, "") => write!(f, "{whole} CPUs"),
            _ => write!(f, "{whole}.{fraction} CPUs"),
        }
    }
}

/// The two kinds of hierarchy; both may be mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Version {
    /// The path of our group, from the lines of `/proc/self/cgroup`: `4:cpu,cpuacct:/a`, `0::/a`.
    fn group(self, lines: &str) -> Option<&str> {
        lines.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let ours = match self {
                Self::V1 => controllers.split(',').any(|name| name == "cpu"),
                Self::V2 => controllers.is_empty(),
            };
            ours.then_some(path)
        })
    }

    fn limit(self, directory: &Path, read: impl Fn(&Path) -> Option<String>) -> Option<CpuLimit> {
        let number = |text: &str| text.trim().parse().ok();
        let file = |name| read(&directory.join(name));
        match self {
            // -1: no limit
            Self::V1 => CpuLimit::new(
                number(&file("cpu.cfs_quota_us")?)?,
                number(&file("cpu.cfs_period_us")?)?,
            ),
            // "max 100000": no limit
            Self::V2 => {
                let file = file("cpu.max")?;
                let (quota, period) = file.trim().split_once(' ')?;
                CpuLimit::new(number(quota)?, number(period)?)
            }
        }
    }
}

/// A line of `/proc/self/mountinfo` that is a hierarchy with CPU limits.
#[derive(Debug)]
struct Mount {
    version: Version,
    /// What of the hierarchy is mounted: its root, or in a container often its own group.
    root: PathBuf,
    at: PathBuf,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (ours, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let version = match (filesystem.next()?, filesystem.nth(1)) {
            ("cgroup2", _) => Version::V2,
            ("cgroup", Some(options)) if options.split(',').any(|name| name == "cpu") => {
                Version::V1
            }
            _ => return None,
        };
        let mut fields = ours.split(' ').skip(3);
        let (root, at) = (fields.next()?.into(), fields.next()?.into());
        Some(Self { version, root, at })
    }

    /// Where `group` and those above it are to be seen. Where the group is not below what is
    /// mounted, because the two are told from different namespaces, what is mounted is ours.
    fn directories(&self, group: &str) -> impl Iterator<Item = PathBuf> {
        let below = Path::new(group)
            .strip_prefix(&self.root)
            .ok()
            .filter(|below| {
                below
                    .components()
                    .all(|c| matches!(c, Component::Normal(_)))
            })
            .map(Path::to_owned)
            .unwrap_or_default();
        let depth = below.components().count() + 1;
        let at = self.at.join(below);
        let mut next = Some(at);
        std::iter::from_fn(move || {
            let directory = next.take()?;
            next = directory.parent().map(Path::to_owned);
            Some(directory)
        })
        .take(depth)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const V2: &str =
        "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "\
        30 29 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        31 29 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct\n";

    /// The limit where `files`, each `path = contents`, are below `/sys/fs/cgroup`.
    fn limit(cgroup: &str, mountinfo: &str, files: &[&str]) -> Option<u64> {
        let files = files.iter().filter_map(|file| file.split_once(" = "));
        let files: BTreeMap<_, _> = files
            .map(|(path, text)| (Path::new("/sys/fs/cgroup").join(path), text))
            .chain([
                ("/proc/self/cgroup".into(), cgroup),
                ("/proc/self/mountinfo".into(), mountinfo),
            ])
            .collect();
        let read = |path: &Path| files.get(path).map(ToString::to_string);
        CpuLimit::of_this_process(read).map(|limit| limit.0)
    }

    #[test]
    fn the_tightest_limit_of_v2_counts() {
        let own = V2.replace(" / /sys", " /kubepods/pod1/a /sys");
        for (what, cgroup, mountinfo, files, expected) in [
            (
                "a limit",
                "0::/\n",
                V2,
                &["cpu.max = 150000 100000\n"][..],
                Some(1500),
            ),
            ("none", "0::/\n", V2, &["cpu.max = max 100000\n"], None),
            ("no controller", "0::/a\n", V2, &[], None),
            (
                "one on a group above",
                "0::/kubepods/pod1/a\n",
                V2,
                &[
                    "kubepods/pod1/a/cpu.max = max 100000\n",
                    "kubepods/pod1/cpu.max = 25000 100000\n",
                    "kubepods/cpu.max = 800000 100000\n",
                ],
                Some(250),
            ),
            (
                "the host's namespace, and our group is what is mounted",
                "0::/kubepods/pod1/a\n",
                &own,
                &["cpu.max = 10000 100000\n"],
                Some(100),
            ),
            (
                "a group outside of what the namespace shows",
                "0::/../b\n",
                V2,
                &["cpu.max = 200000 100000\n", "../b/cpu.max = 1 100000\n"],
                Some(2000),
            ),
            (
                "a neighbour's",
                "0::/a\n",
                V2,
                &["b/cpu.max = 50000 100000\n"],
                None,
            ),
            ("no period", "0::/\n", V2, &["cpu.max = 5 0\n"], None),
            ("no cgroups", "", "", &[], None),
        ] {
            assert_eq!(limit(cgroup, mountinfo, files), expected, "{what}");
        }
    }

    #[test]
    fn the_tightest_limit_of_v1_counts() {
        let own = V1.replace("0:28 /", "0:28 /docker/abc");
        let group = "4:cpu,cpuacct:/docker/abc\n";
        let root = [
            "cpu,cpuacct/cpu.cfs_quota_us = 50000\n",
            "cpu,cpuacct/cpu.cfs_period_us = 100000\n",
        ];
        let unlimited = ["cpu,cpuacct/cpu.cfs_quota_us = -1\n", root[1]];
        let nested = [
            "cpu,cpuacct/docker/abc/cpu.cfs_quota_us = 150000\n",
            "cpu,cpuacct/docker/abc/cpu.cfs_period_us = 100000\n",
        ];
        for (what, cgroup, mountinfo, files, expected) in [
            ("a limit", "4:cpu,cpuacct:/\n", V1, root.to_vec(), Some(500)),
            ("none", "4:cpu,cpuacct:/\n", V1, unlimited.to_vec(), None),
            (
                "nested",
                group,
                V1,
                [unlimited, nested].concat(),
                Some(1500),
            ),
            ("one above", group, V1, [root, nested].concat(), Some(500)),
            (
                "our group is what is mounted",
                group,
                &own,
                root.to_vec(),
                Some(500),
            ),
            (
                "a cpuset is no limit of time",
                "4:cpuset:/\n",
                V1,
                root.to_vec(),
                None,
            ),
        ] {
            assert_eq!(limit(cgroup, mountinfo, &files), expected, "{what}");
        }
    }

    #[test]
    fn of_two_hierarchies_the_one_that_limits_counts() {
        let both = V1.to_owned() + &V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ");
        let v1 = [
            "cpu,cpuacct/cpu.cfs_quota_us = 50000\n",
            "cpu,cpuacct/cpu.cfs_period_us = 100000\n",
        ];
        let v2 = ["unified/a/cpu.max = 300000 100000\n"];
        assert_eq!(limit("4:cpu,cpuacct:/\n0::/\n", &both, &v1), Some(500));
        assert_eq!(limit("4:memory:/\n0::/a\n", &both, &v2), Some(3000));
    }

    #[test]
    fn a_limit_is_rounded_up_and_the_machine_bounds_it() {
        for (thousandths, cpus, expected) in [
            (Some(100), 8, "1 worker: CPU limit of the cgroup, 0.1 CPUs"),
            (Some(1000), 8, "1 worker: CPU limit of the cgroup, 1 CPU"),
            (
                Some(1500),
                8,
                "2 workers: CPU limit of the cgroup, 1.5 CPUs",
            ),
            (Some(2000), 8, "2 workers: CPU limit of the cgroup, 2 CPUs"),
            (
                Some(1500),
                2,
                "2 workers: CPU limit of the cgroup, 1.5 CPUs",
            ),
            (Some(8000), 8, "8 workers: CPUs that this process may use"),
            (Some(64_000), 2, "2 workers: CPUs that this process may use"),
            (None, 1, "1 worker: CPUs that this process may use"),
            (None, 0, "1 worker: CPUs that this process may use"),
        ] {
            let workers = Workers::within(thousandths.map(CpuLimit), cpus);
            assert_eq!(workers.to_string(), expected);
        }
        let configured = Workers::new(NonZeroUsize::new(3));
        assert_eq!(configured.to_string(), "3 workers: configured");
    }

    proptest! {
        #[test]
        fn no_file_can_stop_the_start(
            cgroup in "([0-9]:(cpu)?:[/a.]{0,8}\n|.){0,4}",
            mountinfo in "([0-9 /a.]{0,12} - cgroup2? a (rw,)?(cpu)?\n|.){0,4}",
            file in "([0-9]{0,22} ?[0-9]{0,22}|max 1|.{0,9})",
        ) {
            let found = CpuLimit::of_this_process(|path| Some(match path.to_str() {
                Some("/proc/self/cgroup") => cgroup.clone(),
                Some("/proc/self/mountinfo") => mountinfo.clone(),
                _ => file.clone(),
            }));
            let workers = Workers::within(found, 4);
            prop_assert!((1..=4).contains(&workers.count.get()), "{workers}");
        }
    }
}
