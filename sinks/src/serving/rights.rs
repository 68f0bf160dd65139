//! Who may do what in Postgres: pure.

/// What a writer does with rows. It neither makes, changes nor drops tables: partitions are made and dropped, and kept views made
/// anew, by functions in the owner's name.
const WRITES: &str = "SELECT, INSERT, UPDATE, DELETE";

/// The functions in the owner's name. They look for tables in their own schema.
pub(super) const FUNCTIONS: [&str; 3] =
    ["make_months(TEXT, DATE[])", "drop_month(TEXT, DATE, TIMESTAMPTZ)", "refresh_views()"];

/// Lets one of these functions look for tables in the schema that it is in now.
pub(super) fn settle(function: &str, schema: &str) -> String {
    format!("ALTER FUNCTION \"{schema}\".{function} SET search_path = \"{schema}\", pg_temp")
}

/// The statements with which the owner of a schema gives a writer and a reader their rights, on what is there and what comes.
pub fn grants(schema: &str, owner: &str, writer: Option<&str>, reader: Option<&str>) -> Vec<String> {
    let roles = [(writer, WRITES), (reader, "SELECT")];
    let roles = roles.into_iter().filter_map(|(role, rights)| Some((quoted(role?), rights)));
    let (owner, schema) = (quoted(owner), quoted(schema));
    let mut statements: Vec<String> = roles
        .flat_map(|(role, rights)| {
            [
                format!("GRANT USAGE ON SCHEMA {schema} TO {role}"),
                format!("GRANT {rights} ON ALL TABLES IN SCHEMA {schema} TO {role}"),
                format!(
                    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT {rights} ON TABLES TO {role}"
                ),
            ]
        })
        .collect();
    if let Some(writer) = writer.map(quoted) {
        statements.push(format!("REVOKE INSERT, UPDATE, DELETE ON {schema}._sqlx_migrations FROM {writer}"));
        let grant = |function| format!("GRANT EXECUTE ON FUNCTION {schema}.{function} TO {writer}");
        statements.extend(FUNCTIONS.map(grant));
    }
    statements
}

/// A name as an identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_a_name() {
        let statements = grants("skuflow", "owner", None, Some("x\"; DROP TABLE alerts; --"));
        assert_eq!(statements[0], "GRANT USAGE ON SCHEMA \"skuflow\" TO \"x\"\"; DROP TABLE alerts; --\"");
        assert!(statements.iter().all(|statement| !statement.contains("INSERT")), "a reader only reads");
    }
}
