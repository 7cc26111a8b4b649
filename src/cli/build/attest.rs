//! `--attest`, `--provenance` and `--sbom`.
//! <https://docs.docker.com/reference/cli/docker/buildx/build/#attest>

use crate::build::output::provenance::Detail;
use crate::cli::flag::boolean;
use crate::cli::value::comma_separated;
use crate::error::bad_input;
use anyhow::Result;

/// What is to be told in the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attestations {
    /// How it was made.
    pub provenance: Option<Detail>,
    /// What is in it.
    pub sbom: bool,
}

impl Attestations {
    /// The later flag wins.
    pub fn parse(
        attest: &[String],
        provenance: &Option<String>,
        sbom: &Option<String>,
    ) -> Result<Self> {
        let mut found = Self::default();
        for text in attest {
            let fields = comma_separated::fields(text).map_err(bad_input)?;
            let kinds: Vec<&str> = fields
                .iter()
                .filter_map(|field| field.strip_prefix("type="))
                .collect();
            match kinds[..] {
                ["provenance"] => found.provenance = detail(&fields)?,
                ["sbom"] => found.sbom = !is_disabled(&fields),
                [] => return Err(bad_input("attestation type not specified").into()),
                [other, ..] => {
                    return Err(bad_input(format!("unknown attestation type \"{other}\"")).into());
                }
            }
        }
        if let Some(text) = provenance {
            let fields = comma_separated::fields(text).map_err(bad_input)?;
            found.provenance = detail(&fields)?;
        }
        if let Some(text) = sbom {
            let fields = comma_separated::fields(text).map_err(bad_input)?;
            found.sbom = !is_disabled(&fields);
        }
        Ok(found)
    }
}

fn is_disabled(fields: &[String]) -> bool {
    fields
        .iter()
        .any(|field| field == "disabled=true" || boolean(field).is_ok_and(|wanted| !wanted))
}

fn detail(fields: &[String]) -> Result<Option<Detail>> {
    if is_disabled(fields) {
        return Ok(None);
    }
    let mut detail = Detail::Least;
    for field in fields {
        match field.split_once('=') {
            Some(("mode", "max")) => detail = Detail::Most,
            Some(("mode", "min")) => detail = Detail::Least,
            Some(("mode", other)) => {
                return Err(bad_input(format!("invalid provenance mode \"{other}\"")).into());
            }
            _ => {}
        }
    }
    Ok(Some(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let parse = |attest: &[&str], provenance: Option<&str>| {
            let attest: Vec<String> = attest.iter().map(|text| (*text).to_owned()).collect();
            Attestations::parse(&attest, &provenance.map(str::to_owned), &None)
        };
        assert_eq!(parse(&[], None).unwrap(), Attestations::default());
        assert_eq!(
            parse(&[], Some("true")).unwrap().provenance,
            Some(Detail::Least)
        );
        assert_eq!(
            parse(&[], Some("mode=max")).unwrap().provenance,
            Some(Detail::Most)
        );
        assert_eq!(
            parse(&["type=provenance,mode=max"], Some("false"))
                .unwrap()
                .provenance,
            None
        );
        assert!(parse(&["type=sbom"], None).unwrap().sbom);
        for bad in ["mode=max", "type=x"] {
            assert!(parse(&[bad], None).is_err(), "{bad}");
        }
        assert!(parse(&[], Some("mode=x")).is_err());
    }
}
