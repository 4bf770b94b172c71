//! Sorts libvirt's errors: who has to do something about it.

use skerry_compute::HypervisorError;
use skerry_model::{Id, Vm};
use virt::error::{Error, ErrorDomain, ErrorNumber};

/// Something that went wrong inside a call.
#[derive(Debug)]
pub enum CallError {
    /// libvirt said so.
    Libvirt(Error),
    /// The answer is already sorted.
    Sorted(HypervisorError),
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Libvirt(error)
    }
}

impl From<HypervisorError> for CallError {
    fn from(error: HypervisorError) -> Self {
        Self::Sorted(error)
    }
}

/// Whether the service at the other end is gone, rather than having refused something.
pub fn is_lost(error: &Error) -> bool {
    matches!(error.domain(), ErrorDomain::Rpc | ErrorDomain::Remote)
        || matches!(
            error.code(),
            ErrorNumber::Rpc
                | ErrorNumber::NoConnect
                | ErrorNumber::InvalidConn
                | ErrorNumber::NoServer
                | ErrorNumber::NoClient
                | ErrorNumber::AuthUnavailable
        )
}

/// Whether a definition or setting is at fault, so that trying again cannot help.
fn is_refusal(code: ErrorNumber) -> bool {
    matches!(
        code,
        ErrorNumber::XmlError
            | ErrorNumber::XmlDetail
            | ErrorNumber::XmlInvalidSchema
            | ErrorNumber::ConfigUnsupported
            | ErrorNumber::ArgumentUnsupported
            | ErrorNumber::OperationUnsupported
            | ErrorNumber::OperationDenied
            | ErrorNumber::AccessDenied
            | ErrorNumber::InvalidArg
            | ErrorNumber::InvalidMac
            | ErrorNumber::NoSupport
            | ErrorNumber::OsType
            | ErrorNumber::DomExist
            | ErrorNumber::CpuIncompatible
    )
}

/// The error as the compute domain knows it.
pub fn sorted(call: &'static str, vm: Option<Id<Vm>>, error: CallError) -> HypervisorError {
    let error = match error {
        CallError::Sorted(error) => return error,
        CallError::Libvirt(error) => error,
    };
    let message = error.message().to_owned();
    match vm {
        _ if is_lost(&error) => HypervisorError::Unavailable { source: Some(Box::new(error)) },
        Some(vm) if is_refusal(error.code()) => HypervisorError::Refused { call, vm, message },
        Some(vm) => HypervisorError::Failed { call, vm, message },
        None if is_refusal(error.code()) => HypervisorError::Unfit { message },
        None => HypervisorError::Unavailable { source: Some(Box::new(error)) },
    }
}
