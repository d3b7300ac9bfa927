//! Service accounts, their tokens, and who is allowed what.

use serde_json::Value;

use super::RestoreContext;
use crate::json;

const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// Why a secret is left out: it is a token that a controller made and makes again.
pub(super) fn secret_left_out(secret: &Value) -> Option<&'static str> {
    if json::text(secret, &["type"]) != Some(TOKEN_TYPE) {
        return None;
    }
    let name = json::text(secret, &["metadata", "name"])?;
    let annotations = json::object(secret, &["metadata", "annotations"])?;
    let account = annotations.get(ACCOUNT_NAME)?.as_str()?;
    let made = name
        .strip_prefix(account)
        .is_some_and(|rest| rest.starts_with("-token-"));
    made.then_some("the secret is a service account's token that the cluster makes itself")
}

/// A token that a user asked for is filled in anew.
pub(super) fn secret(secret: &mut Value) {
    if json::text(secret, &["type"]) != Some(TOKEN_TYPE) {
        return;
    }
    for key in ["token", "ca.crt"] {
        json::remove(secret, &["data"], key);
    }
    json::remove(secret, &["metadata", "annotations"], ACCOUNT_UID);
}

/// A service account does not refer to the token that a controller had made for it.
pub(super) fn service_account(account: &mut Value) {
    let Some(name) = json::text(account, &["metadata", "name"]) else {
        return;
    };
    let token = format!("{name}-token-");
    if let Some(secrets) = json::list_mut(account, &["secrets"]) {
        let made =
            |secret: &Value| json::text(secret, &["name"]).is_some_and(|name| name.starts_with(&token));
        if let Some(last) = secrets.iter().rposition(made) {
            secrets.remove(last);
        }
    }
}

/// Subjects of a binding move with their namespace.
pub(super) fn map_subjects(ctx: &RestoreContext, binding: &mut Value) {
    for subject in json::list_mut(binding, &["subjects"]).into_iter().flatten() {
        if let Some(namespace) = json::get_mut(subject, &["namespace"])
            && let Some(target) = namespace
                .as_str()
                .and_then(|name| ctx.namespace_mapping.get(name))
        {
            *namespace = target.as_str().into();
        }
    }
}
