//! The moments of a landing, at which tests crash, lose answers and let others in.

use std::io;

/// A moment of a landing, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The commit is in the ledger, none of its files is made.
    Pending,
    /// A file is written, and has no name.
    Staged,
    /// All files have their names.
    Linked,
    /// The snapshot's manifests are written.
    Listed,
    /// The metadata file is written.
    Described,
    /// The pointer was moved, or could not be. An error here is an answer that got lost.
    Swapped,
    /// The landing is over; nobody has been told.
    Over,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Staged, Self::Linked, Self::Listed, Self::Described, Self::Swapped, Self::Over];
}

/// What is called at each step; an error there is an error of the step.
pub type Hook = Box<dyn FnMut(Step) -> io::Result<()> + Send>;

/// Calls the hook, if there is one.
#[derive(Default)]
pub(super) struct Steps(pub(super) Option<Hook>);

impl Steps {
    pub(super) fn reach(&mut self, step: Step) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |hook| hook(step))
    }
}
