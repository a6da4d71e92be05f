fn main() -> std::process::ExitCode {
    kit::main(&wait_healthy::STEP, option_env!("CUTOVER_COMMIT"))
}
