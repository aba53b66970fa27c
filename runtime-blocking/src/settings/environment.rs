//! The environment variables that the settings look at, taken once at the start. Nothing else reads the environment.

use std::collections::BTreeMap;
use std::fmt;

/// Environment variables. Never printed: tokens are among them.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process. A variable that is not UTF-8 is left out.
    #[must_use]
    pub fn of_this_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// A variable's value; `None` also when it is empty or blank, as an unset variable often arrives.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.trim().is_empty())
    }

    /// The first of `names` that is set, with its value.
    #[must_use]
    pub fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, &str)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(variables: T) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_means_unset() {
        let environment = Environment::from_iter([("A", ""), ("B", " "), ("C", "c")]);
        assert_eq!(environment.get("A"), None);
        assert_eq!(environment.first(&["A", "B", "C"]), Some(("C", "c")));
        assert_eq!(format!("{environment:?}"), "Environment(3 variables)");
    }
}
