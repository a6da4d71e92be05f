fn main() -> std::process::ExitCode {
    kit::main(&backup_db::STEP, option_env!("CUTOVER_COMMIT"))
}
