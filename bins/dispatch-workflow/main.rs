fn main() -> std::process::ExitCode {
    kit::main(&dispatch_workflow::STEP, option_env!("CUTOVER_COMMIT"))
}
