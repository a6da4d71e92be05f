fn main() -> std::process::ExitCode {
    kit::main(&run_migration::STEP, option_env!("CUTOVER_COMMIT"))
}
