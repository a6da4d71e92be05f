//! The contract every step keeps: run loop, arguments, failures, exit codes, reports, waiting, receipts.
