fn main() -> std::process::ExitCode {
    kit::main(&swap_upstream::STEP, option_env!("CUTOVER_COMMIT"))
}
