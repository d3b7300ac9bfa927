//! Prints the custom resource definitions as YAML, for `cargo xtask generate`.

use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    let definitions = [refloat_model::crds::all()?, refloat_model::crds::own()?].concat();
    for definition in definitions {
        writeln!(out, "---")?;
        // By way of a JSON value, so that no field of ours is printed that Kubernetes would not send.
        let value = serde_json::to_value(&definition)?;
        write!(out, "{}", serde_saphyr::to_string(&value)?)?;
    }
    Ok(())
}
