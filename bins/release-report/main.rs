fn main() -> std::process::ExitCode {
    kit::main(&release_report::STEP, option_env!("CUTOVER_COMMIT"))
}
