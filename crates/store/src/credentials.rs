//! The credentials files that Velero's secrets hold: AWS profiles (`[default]` …), and lines `NAME=value` for
//! Azure and Alibaba Cloud. Google's is JSON and goes on as it is.

use std::collections::HashMap;

/// One profile of an AWS credentials or config file.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct AwsProfile(HashMap<String, String>);

impl AwsProfile {
    /// The value of a key; an empty one counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

/// The profiles of an AWS credentials or config file, by name.
pub(crate) struct AwsProfiles(HashMap<String, AwsProfile>);

impl AwsProfiles {
    /// Reads the file; the error says what is wrong without quoting a value.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
        let mut profiles: HashMap<String, AwsProfile> = HashMap::new();
        let mut current = None;
        for (number, line) in text.lines().enumerate() {
            // An indented line belongs to the setting above (nested settings, which we need none of).
            let nested = line.starts_with([' ', '\t']) && !line.contains("aws_");
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) || nested {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                let name = name.trim();
                let name = name.strip_prefix("profile ").unwrap_or(name).trim().to_owned();
                profiles.entry(name.clone()).or_default();
                current = Some(name);
            } else if let Some((key, value)) = line.split_once('=') {
                let profile = current
                    .as_ref()
                    .and_then(|name| profiles.get_mut(name))
                    .ok_or_else(|| {
                        format!(
                            "line {} stands before any [profile]; the file begins with [default]",
                            number + 1
                        )
                    })?;
                profile
                    .0
                    .insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
            } else {
                return Err(format!(
                    "line {} is neither [profile] nor key = value",
                    number + 1
                ));
            }
        }
        Ok(Self(profiles))
    }

    /// The profile `name`, or an error that lists those there are.
    pub(crate) fn get(&self, name: &str) -> Result<&AwsProfile, String> {
        self.0.get(name).ok_or_else(|| {
            let mut names: Vec<_> = self.0.keys().map(String::as_str).collect();
            names.sort_unstable();
            format!("it has no profile [{name}]; it has: {}", names.join(", "))
        })
    }
}

/// Reads lines `NAME=value`, as a shell would source them: `export`, quotes and comments are understood.
pub(crate) fn parse_env_file(bytes: &[u8]) -> Result<HashMap<String, String>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let mut values = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {} is not of the form NAME=value", number + 1))?;
        let value = value.trim();
        let quoted = |q: char| {
            value
                .strip_prefix(q)
                .and_then(|v| v.split_once(q))
                .map(|(v, _)| v)
        };
        let plain = || value.split_once(" #").map_or(value, |(v, _)| v.trim_end());
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or_else(plain);
        values.insert(name.trim().to_owned(), value.to_owned());
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"# made by hand\n[default]\naws_access_key_id = AK1\naws_secret_access_key=se=cr+et/\n\n\
        [profile other]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile=default\ns3 =\n  addressing_style = path\n";

    #[test]
    fn aws_profiles_are_read() {
        let profiles = AwsProfiles::parse(FILE).unwrap();
        let default = profiles.get("default").unwrap();
        assert_eq!(default.get("aws_access_key_id"), Some("AK1"));
        assert_eq!(default.get("aws_secret_access_key"), Some("se=cr+et/"));
        assert_eq!(default.get("aws_session_token"), None);
        let other = profiles.get("other").unwrap();
        assert_eq!(other.get("source_profile"), Some("default"));
        assert_eq!(other.get("addressing_style"), None);
    }

    #[test]
    fn wrong_aws_files_are_explained_without_values() {
        let error = AwsProfiles::parse(FILE).unwrap().get("third").err().unwrap();
        assert_eq!(error, "it has no profile [third]; it has: default, other");
        for (file, words) in [
            (&b"aws_secret_access_key=hush"[..], "before any [profile]"),
            (b"[default]\nhush", "line 2 is neither"),
            (b"\xff", "not UTF-8"),
        ] {
            let error = AwsProfiles::parse(file).err().unwrap();
            assert!(error.contains(words) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn env_files_are_read() {
        let file = b"AZURE_TENANT_ID=t\nexport AZURE_CLIENT_SECRET='s e#c=r'\n# no\nKEY=\"a==\" # yes\nE=\nP=x # y\n";
        let values = parse_env_file(file).unwrap();
        assert_eq!(values["AZURE_TENANT_ID"], "t");
        assert_eq!(values["AZURE_CLIENT_SECRET"], "s e#c=r");
        assert_eq!(values["KEY"], "a==");
        assert_eq!((values["E"].as_str(), values["P"].as_str()), ("", "x"));
        assert_eq!(
            parse_env_file(b"hush").unwrap_err(),
            "line 1 is not of the form NAME=value"
        );
    }
}
