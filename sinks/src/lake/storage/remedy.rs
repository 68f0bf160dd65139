//! What an answer of S3 means, and what to do: pure.

use std::io;

use object_store::Error;

const KEYS: &str = "set `access_key_id` and `secret_access_key` in `s3`, or the variables AWS_ACCESS_KEY_ID and \
                    AWS_SECRET_ACCESS_KEY, to credentials that the server knows";

/// What to do, if something, and whether it may pass all the same.
type Remedy = (&'static str, bool);

/// What to do about an answer, by the code that S3 gives it, see
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>; `None` where that is to ask again. Credentials that are
/// `renewed` by whoever gives them come anew.
fn remedy(code: &str, renewed: bool) -> Option<Remedy> {
    let what = match code {
        "NoSuchBucket" | "InvalidBucketName" => "make the bucket, or correct `path` and `endpoint`",
        // the last is versitygw's
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "XAdminUserNotFound" => KEYS,
        "ExpiredToken" | "TokenRefreshRequired" if renewed => {
            return Some(("the credentials were for a time that is over; new ones are asked for", true));
        }
        "ExpiredToken" | "TokenRefreshRequired" => "the credentials were for a time that is over; give new ones",
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => {
            "allow these credentials to get, put, delete and list objects in the bucket, and to abort multipart uploads; a \
             table bucket takes nothing but files of tables: name another bucket in `path`"
        }
        "RequestTimeTooSkewed" => {
            return Some(("the clocks of this machine and of the server differ by too much; set them right", true));
        }
        "InvalidObjectState" => {
            "the object was moved to an archive: restore it, and let no rule of the bucket archive objects of the lake"
        }
        // trouble of the key's server
        "KMS.ThrottlingException"
        | "KMS.InternalException"
        | "KMS.DependencyTimeoutException"
        | "KMS.KeyUnavailableException" => return None,
        _ if code.starts_with("KMS.") => {
            "enable the key that the bucket encrypts with, and let these credentials use it (kms:GenerateDataKey, kms:Decrypt)"
        }
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            "set `region` in `s3` to the bucket's"
        }
        "NotImplemented" => {
            "the server cannot make an object only where there is none (If-None-Match); use another one"
        }
        _ => return None,
    };
    Some((what, false))
}

/// The code of an answer, also of one that says it without words.
fn code<'a>(error: &Error, said: &'a str) -> &'a str {
    match (between(said, "Code"), error) {
        (Some(code), _) => code,
        (None, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) => "AccessDenied",
        (None, _) if said.contains("redirect without LOCATION") => "PermanentRedirect",
        (None, _) => "",
    }
}

/// The text of an element of an answer.
fn between<'a>(said: &'a str, element: &str) -> Option<&'a str> {
    let (_, behind) = said.split_once(&format!("<{element}>"))?;
    Some(behind.split_once(&format!("</{element}>"))?.0)
}

/// The error as those above know it: of kind `InvalidData` where it will not get better by itself, `NotFound` and
/// `AlreadyExists` where that is so, and `Other`. Says `what` was asked, what was answered, and what to do.
pub(super) fn told(what: &str, error: &Error, renewed: bool) -> io::Error {
    let mut bottom: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = bottom.source() {
        bottom = source;
    }
    let (all, said) = (error.to_string(), bottom.to_string());
    let code = code(error, &said);
    let answer = match (between(&said, "Code"), between(&said, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {}", message.trim_end_matches('.')),
        _ => said.clone(),
    };
    let remedy = remedy(code, renewed);
    let kind = match error {
        _ if remedy.is_some_and(|(_, passes)| !passes) => io::ErrorKind::InvalidData,
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
        _ => io::ErrorKind::Other,
    };
    // where credentials are asked of a machine that has none
    let is_asked = || ["169.254.169.254", "169.254.170.2"].iter().any(|host| all.contains(host));
    let remedy = remedy.map(|(what, _)| what).or_else(|| is_asked().then_some(KEYS));
    let remedy = remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
    io::Error::new(kind, format!("{what}: {answer}{remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Source = Box<dyn std::error::Error + Send + Sync>;

    fn check(error: Error, kind: io::ErrorKind, expected: &str) {
        let told = told("s3://bkt/k", &error, false);
        assert_eq!((told.kind(), told.to_string().as_str()), (kind, expected));
    }

    fn body(code: &str) -> Source {
        format!("Server returned non-2xx status code: 4xx: <Error><Code>{code}</Code><Message>no.</Message></Error>")
            .into()
    }

    #[test]
    fn what_will_not_pass_is_told_from_what_may() {
        let path = String::new;
        check(
            Error::NotFound { path: path(), source: body("NoSuchBucket") },
            io::ErrorKind::InvalidData,
            "s3://bkt/k: NoSuchBucket: no; make the bucket, or correct `path` and `endpoint`",
        );
        check(
            Error::NotFound { path: path(), source: body("NoSuchKey") },
            io::ErrorKind::NotFound,
            "s3://bkt/k: NoSuchKey: no",
        );
        check(
            Error::PermissionDenied { path: path(), source: body("RequestTimeTooSkewed") },
            io::ErrorKind::Other,
            "s3://bkt/k: RequestTimeTooSkewed: no; the clocks of this machine and of the server differ by too much; set them \
             right",
        );
        check(
            Error::PermissionDenied { path: path(), source: "403".into() },
            io::ErrorKind::InvalidData,
            "s3://bkt/k: 403; allow these credentials to get, put, delete and list objects in the bucket, and to abort \
             multipart uploads; a table bucket takes nothing but files of tables: name another bucket in `path`",
        );
        check(
            Error::Generic { store: "S3", source: "Received redirect without LOCATION".into() },
            io::ErrorKind::InvalidData,
            "s3://bkt/k: Received redirect without LOCATION; set `region` in `s3` to the bucket's",
        );
        check(
            Error::Generic { store: "S3", source: body("SlowDown") },
            io::ErrorKind::Other,
            "s3://bkt/k: SlowDown: no",
        );
        check(
            Error::AlreadyExists { path: path(), source: body("PreconditionFailed") },
            io::ErrorKind::AlreadyExists,
            "s3://bkt/k: PreconditionFailed: no",
        );
        let refused: Source = "PUT http://169.254.169.254/latest/api/token: timed out".into();
        let told = told("s3://bkt/k", &Error::Generic { store: "S3", source: refused }, true);
        assert!(told.kind() == io::ErrorKind::Other && told.to_string().contains("AWS_ACCESS_KEY_ID"), "{told}");
    }

    /// By code: whether it may pass by itself, and what to do.
    #[test]
    fn a_code_says_what_to_do_and_whether_to_ask_again() {
        let check = |code: &str, renewed: bool, passes: bool, expected: &str| {
            let told = told("s3://bkt/k", &Error::Generic { store: "S3", source: body(code) }, renewed);
            assert_eq!(told.kind() == io::ErrorKind::Other, passes, "{told}");
            assert!(told.to_string().contains(expected), "{told}");
        };
        check("ExpiredToken", true, true, "new ones are asked for");
        check("ExpiredToken", false, false, "give new ones");
        check("RequestTimeTooSkewed", false, true, "set them right");
        check("InvalidBucketName", false, false, "correct `path`");
        check("InvalidObjectState", false, false, "restore it");
        check("KMS.DisabledException", false, false, "kms:Decrypt");
        check("KMS.ThrottlingException", false, true, "no");
        check("InternalError", false, true, "no");
    }
}
