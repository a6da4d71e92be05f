fn main() -> std::process::ExitCode {
    kit::main(&maintenance_toggle::STEP, option_env!("CUTOVER_COMMIT"))
}
