fn main() -> std::process::ExitCode {
    kit::main(&toggle_schedule::STEP, option_env!("CUTOVER_COMMIT"))
}
