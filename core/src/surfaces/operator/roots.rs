//! Where a run may work: inside its agent's workspace or one of the configured roots, by real paths, so that a link cannot
//! lead out. The roots' real paths are asked for once, when the settings are taken.

use alloc::collections::BTreeMap;
use alloc::string::String;

/// The configured folders and their real paths.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// As configured, and what that really is (`None`: not known, it does not exist or was not asked for yet).
    shared: BTreeMap<String, Option<String>>,
    workspaces: BTreeMap<String, Option<String>>,
}

impl Roots {
    pub(super) fn new(shared: &[String], workspaces: impl Iterator<Item = String>) -> Self {
        Self {
            shared: shared.iter().map(|root| (root.clone(), None)).collect(),
            workspaces: workspaces.map(|root| (root, None)).collect(),
        }
    }

    /// Every configured folder.
    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.shared.keys().chain(self.workspaces.keys())
    }

    /// A folder's real path is known.
    pub(super) fn resolved(&mut self, configured: &str, real: &str) {
        for roots in [&mut self.shared, &mut self.workspaces] {
            if let Some(root) = roots.get_mut(configured) {
                *root = Some(real.into());
            }
        }
    }

    /// Whether a run of the agent with this workspace may work in `real_path`.
    pub(super) fn allow(&self, workspace: &str, real_path: &str) -> bool {
        let workspace = self.workspaces.get(workspace);
        self.shared
            .values()
            .chain(workspace)
            .flatten()
            .any(|root| is_inside(root, real_path))
    }
}

fn is_inside(root: &str, path: &str) -> bool {
    let root = root.trim_end_matches('/');
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_inside_and_only_what_is_known() {
        let mut roots = Roots::new(&["/srv/link".into()], ["/w/a".into(), "/w/b".into()].into_iter());
        assert!(
            !roots.allow("/w/a", "/w/a"),
            "nothing is allowed before its real path is known"
        );
        for (configured, real) in [("/srv/link", "/data"), ("/w/a", "/w/a"), ("/w/b", "/w/b")] {
            roots.resolved(configured, real);
        }
        for (path, allowed) in [
            ("/w/a", true),
            ("/w/a/x", true),
            ("/w/ab", false),
            ("/w/b", false),
            ("/data/x", true),
            ("/srv/link", false),
        ] {
            assert_eq!(roots.allow("/w/a", path), allowed, "{path}");
        }
    }
}
