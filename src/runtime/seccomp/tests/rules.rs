//! Rules with arguments: against seccompiler on random ones, and where it has no opinion against tables of what
//! libseccomp 2.5 does.
