//! What an answer of S3 means, and what to do: pure.

use std::io;

use object_store::Error;

const KEYS: &str = "set `access_key_id` and `secret_access_key` in `s3`, or the variables AWS_ACCESS_KEY_ID and \
                    AWS_SECRET_ACCESS_KEY, to credentials that the server knows";

/// What to do about what will not pass by itself, by the code that S3 gives it, see
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>; `None` for what may.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "NoSuchBucket" => "make the bucket, or correct `path` and `endpoint`",
        // the last is versitygw's
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "XAdminUserNotFound" => KEYS,
        "ExpiredToken" => "the credentials were for a time that is over; give new ones",
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => {
            "allow these credentials to get, put, delete and list objects in the bucket, and to abort multipart uploads; a \
             table bucket takes nothing but files of tables: name another bucket in `path`"
        }
        "RequestTimeTooSkewed" => "the clocks of this machine and of the server differ by too much; set them right",
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            "set `region` in `s3` to the bucket's"
        }
        "NotImplemented" => {
            "the server cannot make an object only where there is none (If-None-Match); use another one"
        }
        _ => return None,
    })
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
pub(super) fn told(what: &str, error: &Error) -> io::Error {
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
    let remedy = remedy(code);
    let kind = match error {
        _ if remedy.is_some() => io::ErrorKind::InvalidData,
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
        _ => io::ErrorKind::Other,
    };
    // where credentials are asked of a machine that has none
    let remedy =
        remedy.or_else(|| ["169.254.169.254", "169.254.170.2"].iter().any(|host| all.contains(host)).then_some(KEYS));
    let remedy = remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
    io::Error::new(kind, format!("{what}: {answer}{remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Source = Box<dyn std::error::Error + Send + Sync>;

    fn check(error: Error, kind: io::ErrorKind, expected: &str) {
        let told = told("s3://bkt/k", &error);
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
            io::ErrorKind::InvalidData,
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
        let told = told("s3://bkt/k", &Error::Generic { store: "S3", source: refused });
        assert!(told.kind() == io::ErrorKind::Other && told.to_string().contains("AWS_ACCESS_KEY_ID"), "{told}");
    }
}
