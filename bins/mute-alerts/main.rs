fn main() -> std::process::ExitCode {
    kit::main(&mute_alerts::STEP, option_env!("CUTOVER_COMMIT"))
}
