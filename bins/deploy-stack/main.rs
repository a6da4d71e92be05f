fn main() -> std::process::ExitCode {
    kit::main(&deploy_stack::STEP, option_env!("CUTOVER_COMMIT"))
}
