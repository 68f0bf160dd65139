//! What failed, by remedy.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::broker::{BrokerError, TxnError};

/// A question that was not answered.
pub(super) fn broker_error(error: &KafkaError) -> BrokerError {
    let reason = error.to_string();
    match error.rdkafka_error_code() {
        Some(code) if is_hopeless(code) => BrokerError::Fatal(reason),
        Some(Code::Fatal) => BrokerError::Reopen(reason),
        Some(Code::FencedInstanceId) => BrokerError::Fatal(format!("another process has the same worker id: {reason}")),
        None if matches!(error, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_)) => {
            BrokerError::Fatal(reason)
        }
        _ => BrokerError::Retry(reason),
    }
}

/// A step of a transaction before its commit was asked for: nothing is committed. `fatal` is the fatal error of the producer,
/// where it has one.
pub(super) fn txn_error(error: &KafkaError, fatal: Option<(Code, String)>) -> TxnError {
    if let Some((code, reason)) = fatal {
        return match code {
            code if is_fenced(code) => TxnError::Fenced(reason),
            code if is_hopeless(code) => TxnError::Fatal(reason),
            _ => TxnError::Unknown(format!("the producer is of no more use: {reason}")),
        };
    }
    let reason = error.to_string();
    let code = match error {
        KafkaError::Transaction(error) => Some(error.code()),
        other => other.rdkafka_error_code(),
    };
    match code {
        Some(code) if is_fenced(code) => TxnError::Fenced(reason),
        Some(code) if is_hopeless(code) => TxnError::Fatal(reason),
        _ => TxnError::Abort(reason),
    }
}

/// Somebody else has the transactional id, or the partitions.
fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced
            | Code::InvalidProducerEpoch
            | Code::ProducerFenced
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::FencedInstanceId
            | Code::RebalanceInProgress
    )
}

/// Only a change of settings, rights or software helps.
fn is_hopeless(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::InvalidTransactionTimeout
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::InvalidArgument
    )
}
