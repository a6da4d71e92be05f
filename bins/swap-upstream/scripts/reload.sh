main() {
    out=$(eval "$RELOAD" 2>&1 </dev/null)
    say code "$?"
    printf '%s' "$out" | tail -c 4000 | blob output
    say outcome done
}
