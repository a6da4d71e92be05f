-- Volunteers agree to a version of the consent form.
CREATE TABLE consent (
    volunteer_id integer NOT NULL REFERENCES volunteer,
    form_version text NOT NULL,
    given_on     date NOT NULL,
    PRIMARY KEY (volunteer_id, form_version)
);

-- Those who joined before had agreed to the first form by joining.
INSERT INTO consent SELECT id, '1', joined_on FROM volunteer;
