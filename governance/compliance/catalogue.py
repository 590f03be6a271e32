"""The controls. Clauses are cited by number; what they ask is in our own words, as the standards' texts are not ours.

Nothing here is a certification, and a passed control is no legal opinion: it says that the named query found what the
control asks for.
"""

from dataclasses import dataclass
from typing import Final

from governance.compliance.frameworks import Framework, Reference
from governance.compliance.judging import RULES

_31700, _42001, _NIST = Framework.ISO_31700, Framework.ISO_42001, Framework.NIST
_ACT, _GDPR, _HIPAA = Framework.AI_ACT, Framework.GDPR, Framework.HIPAA


@dataclass(frozen=True)
class Control:
    """Something that is checked.

    Attributes:
        id: Short, and never used again for another control.
        title: For people.
        check: What is checked, in one sentence.
        evidence: Name of the evidence function, and of the rule that judges what it finds.
        topic: What an evidence function of several controls looks at: an audit's control, what is attested.
        references: The clauses that it answers to.
    """

    id: str
    title: str
    check: str
    evidence: str
    topic: str
    references: tuple[Reference, ...]

    @property
    def is_organisational(self) -> bool:
        """Whether no query can show it: an officer attests it."""
        return self.evidence == "attestation"

    @property
    def passes_when(self) -> str:
        """How its status follows, for people."""
        return RULES[self.evidence].passes_when


def _control(
    name: str, title: str, check: str, evidence: str, *references: tuple[Framework, str, str], topic: str = ""
) -> Control:
    return Control(name, title, check, evidence, topic, tuple(Reference(*each) for each in references))


CONTROLS: Final = (
    # The log
    _control(
        "LOG-1",
        "The log is intact",
        "Every entry, hash, key and signed tree of the log is verified anew.",
        "ledger-intact",
        (_ACT, "12(1)", "events are recorded automatically over the system's life"),
        (_42001, "A.6.2.8", "event logs are kept where they are needed"),
        (_NIST, "GOVERN 1.4", "risk management is set down in transparent policies and procedures"),
        (_GDPR, "5(2)", "the controller can show that it complies"),
        (_HIPAA, "164.312(c)(1)", "data are protected from improper change"),
    ),
    _control(
        "LOG-2",
        "The log is complete",
        "Each row of the operational tables is compared with its entry.",
        "ledger-complete",
        (_ACT, "12(2)", "the log covers what matters for risks, monitoring and operation"),
        (_HIPAA, "164.312(b)", "activity in systems with health data is recorded and examined"),
        (_42001, "A.6.2.8", "event logs are kept where they are needed"),
    ),
    _control(
        "LOG-3",
        "Others can contradict the log",
        "Witnesses cosigned the log's last signed tree.",
        "ledger-witnessed",
        (_HIPAA, "164.312(c)(2)", "means exist to show that data were not altered without authority"),
        (_NIST, "GOVERN 1.5", "monitoring and review of risk management are planned and done"),
    ),
    _control(
        "LOG-4",
        "Logs are kept long enough",
        "The log reaches back to its opening, or at least half a year.",
        "log-retention",
        (_ACT, "26(6)", "deployers keep automatic logs for at least six months"),
        (_ACT, "19", "providers keep automatic logs for at least six months"),
    ),
    _control(
        "LOG-5",
        "The period's analyses are logged",
        "Analyses that ended in the period are compared with the log's entries of their kinds.",
        "automatic-logging",
        (_ACT, "12(3)", "each use can be traced: when, on what, checked by whom"),
        (_42001, "A.6.2.6", "operation is watched"),
        (_HIPAA, "164.308(a)(1)(ii)(D)", "records of system activity are reviewed"),
    ),
    _control(
        "LOG-6",
        "No personal data in the log",
        "Each entry is looked through for names, identifiers and references to persons.",
        "log-impersonal",
        (_GDPR, "5(1)(c)", "no more personal data than needed"),
        (_GDPR, "25", "data protection by design and by default"),
        (_31700, "7.3", "privacy controls are designed"),
        (_HIPAA, "164.514(b)", "what is de-identified lacks the identifiers that the rule lists"),
    ),
    # Decisions and people
    _control(
        "DEC-1",
        "Decisions are explained",
        "Each decision of a rule in the period has its rule, inputs, outcome and reason.",
        "decisions-explained",
        (_ACT, "13(3)", "users can interpret what the system puts out"),
        (_NIST, "MEASURE 2.8", "risks of transparency and accountability are examined"),
        (_NIST, "MANAGE 1.1", "it is decided whether the system serves its purpose and goes on"),
        (_42001, "A.6.2.3", "design and development are documented"),
    ),
    _control(
        "DEC-2",
        "A person decides",
        "No result of the period is final without a radiologist's decision.",
        "human-review",
        (_ACT, "14", "people can oversee, override and stop the system"),
        (_GDPR, "22", "no decision on a person by automatic means alone"),
        (_NIST, "MAP 3.5", "human oversight is defined and assessed"),
        (_42001, "A.9.2", "processes for responsible use exist"),
    ),
    _control(
        "DEC-3",
        "Only audited and signed models are used",
        "Each released model has its audit and the signed acts that the policy asks for.",
        "release-gate",
        (_ACT, "9(8)", "the system is tested before it is put into service"),
        (_42001, "A.6.2.5", "deployment follows a plan and its conditions are met"),
        (_NIST, "MANAGE 1.1", "it is decided whether the system serves its purpose and goes on"),
        (_ACT, "17(1)(d)", "examination, test and validation before, during and after development"),
    ),
    _control(
        "DEC-4",
        "Duties are separated",
        "Nobody who trained a model signed its release.",
        "separate-duties",
        (_NIST, "GOVERN 2.1", "roles and lines of responsibility are clear"),
        (_42001, "A.3.2", "roles and responsibilities are assigned"),
    ),
    _control(
        "DEC-5",
        "Officers' acts are signed",
        "The signature of each officer's act is checked, and its entry looked up.",
        "acts-signed",
        (_NIST, "GOVERN 2.1", "roles and lines of responsibility are clear"),
        (_HIPAA, "164.312(d)", "who seeks access is who they claim to be"),
        (_42001, "A.3.2", "roles and responsibilities are assigned"),
    ),
    _control(
        "DEC-6",
        "Roles are appointed",
        "An ethics officer, a data steward, an auditor and an administrator have keys.",
        "roles-appointed",
        (_42001, "A.3.2", "roles and responsibilities are assigned"),
        (_31700, "4.5", "roles and authority for privacy are assigned"),
        (_HIPAA, "164.308(a)(2)", "somebody is responsible for security"),
        (_NIST, "GOVERN 2.1", "roles and lines of responsibility are clear"),
    ),
    _control(
        "DEC-7",
        "The policy is in force as approved",
        "The policy can be read, and a changed one has the approvals that it asks for.",
        "policy-in-force",
        (_42001, "A.2.4", "the AI policy is reviewed"),
        (_NIST, "GOVERN 1.2", "trustworthiness is part of policies and practice"),
        (_ACT, "9(1)", "a risk management system is set up, documented and maintained"),
    ),
    # Audit before release
    _control(
        "AUD-1",
        "Audits are current",
        "The audit of each released model is no older than the policy's interval.",
        "audit-current",
        (_ACT, "9(2)", "risk management runs on, with regular review"),
        (_NIST, "MEASURE 2.1", "test sets, metrics and tools are documented"),
        (_HIPAA, "164.308(a)(8)", "safeguards are evaluated periodically"),
    ),
    _control(
        "AUD-2",
        "Bias is within the threshold",
        "The audit's control of bias passed for each released model.",
        "audit-control",
        (_ACT, "10(2)(f)", "data are examined for biases"),
        (_NIST, "MEASURE 2.11", "fairness and bias are evaluated"),
        (_42001, "A.5.4", "impact on individuals and groups is assessed"),
        topic="bias",
    ),
    _control(
        "AUD-3",
        "Performance is as asked",
        "The audit's control of performance passed for each released model.",
        "audit-control",
        (_ACT, "15(1)", "accuracy is appropriate over the system's life"),
        (_NIST, "MEASURE 2.5", "the system is shown to be valid and reliable"),
        (_42001, "A.6.2.4", "the system is verified and validated"),
        topic="performance",
    ),
    _control(
        "AUD-4",
        "No group is left behind",
        "The audit's control of the worst group passed for each released model.",
        "audit-control",
        (_ACT, "10(3)", "data represent the persons that the system is for"),
        (_NIST, "MAP 1.1", "purpose, users and settings are understood"),
        (_42001, "A.7.4", "data quality is defined and met"),
        topic="worst-group",
    ),
    _control(
        "AUD-5",
        "It withstands perturbations",
        "The audit's control of robustness passed for each released model.",
        "audit-control",
        (_ACT, "15(4)", "the system is resilient against errors and faults"),
        (_ACT, "15(5)", "the system withstands attempts to alter its behaviour"),
        (_NIST, "MEASURE 2.7", "security and resilience are evaluated"),
        topic="robustness",
    ),
    _control(
        "AUD-6",
        "Images cannot be reconstructed from updates",
        "The audit's control of gradient inversion passed for each released model.",
        "audit-control",
        (_GDPR, "32", "security fits the risk"),
        (_NIST, "MEASURE 2.10", "privacy risk is examined"),
        (_31700, "7.5", "the testing of privacy controls is designed"),
        topic="privacy-inversion",
    ),
    _control(
        "AUD-7",
        "Membership cannot be inferred",
        "The audit's control of membership inference passed for each released model.",
        "audit-control",
        (_GDPR, "32", "security fits the risk"),
        (_NIST, "MEASURE 2.10", "privacy risk is examined"),
        (_31700, "7.5", "the testing of privacy controls is designed"),
        topic="privacy-membership",
    ),
    _control(
        "AUD-8",
        "Boundaries of use are known",
        "The audit's control of performance boundaries passed for each released model.",
        "audit-control",
        (_ACT, "13(3)(b)", "limits and foreseeable risks are told to users"),
        (_NIST, "MAP 2.2", "limits of knowledge and of human oversight are documented"),
        (_42001, "A.9.4", "the system is used as intended"),
        topic="boundaries",
    ),
    _control(
        "AUD-9",
        "Explanations follow the model",
        "The audit's control of interpretability passed for each released model.",
        "audit-control",
        (_NIST, "MEASURE 2.9", "the model is explained and its output interpreted in context"),
        (_ACT, "86", "affected persons can get an explanation of a decision"),
        (_ACT, "13(1)", "the system is transparent enough to be used well"),
        topic="interpretability",
    ),
    # In operation
    _control(
        "RUN-1",
        "Every result is watched",
        "Results of the period are compared with what monitoring keeps.",
        "monitoring",
        (_ACT, "72", "the provider watches the system after it is on the market"),
        (_ACT, "26(5)", "deployers watch the system in use"),
        (_NIST, "MEASURE 2.4", "the system is watched in production"),
        (_NIST, "MANAGE 4.1", "monitoring after deployment is planned and done"),
        (_42001, "A.6.2.6", "operation is watched"),
    ),
    _control(
        "RUN-2",
        "Halts are explained and lifted by officers",
        "Each halt of the period has its decision, and each resumption its officers.",
        "halts-explained",
        (_NIST, "MANAGE 2.4", "there are means to disengage a system that fails its purpose"),
        (_ACT, "14(4)(e)", "people can stop the system"),
        (_42001, "A.8.4", "incidents are communicated"),
    ),
    _control(
        "RUN-3",
        "Radiologists agree often enough",
        "The share of results that radiologists rejected in the period.",
        "rejections",
        (_ACT, "15(3)", "levels of accuracy are stated and met"),
        (_NIST, "MEASURE 3.1", "risks are tracked over time"),
        (_GDPR, "5(1)(d)", "personal data are accurate"),
    ),
    _control(
        "RUN-4",
        "Analyses rarely fail",
        "The share of analyses that failed in the period.",
        "failures",
        (_ACT, "15(4)", "the system is resilient against errors and faults"),
        (_NIST, "MEASURE 2.6", "the system is evaluated for safe failure"),
        (_42001, "A.6.2.6", "operation is watched"),
    ),
    _control(
        "RUN-5",
        "Each model has a card",
        "Each released model has a generated model card.",
        "model-cards",
        (_ACT, "11", "technical documentation is drawn up and kept up to date"),
        (_ACT, "13(2)", "instructions for use come with the system"),
        (_42001, "A.6.2.7", "technical documentation exists for each audience"),
        (_42001, "A.8.2", "users get documentation and information"),
        (_NIST, "MAP 2.1", "tasks and methods of the system are defined"),
    ),
    _control(
        "RUN-6",
        "Monitoring keeps groups, not persons",
        "What monitoring keeps of a case is looked through for other attributes than the policy's groups.",
        "minimal-observations",
        (_GDPR, "5(1)(c)", "no more personal data than needed"),
        (_HIPAA, "164.514(d)", "no more than the minimum necessary"),
        (_31700, "7.7", "privacy controls are operated"),
    ),
    # Learning
    _control(
        "FED-1",
        "The privacy budget holds",
        "What each federated run cost a patient's record is compared with the policy's epsilon.",
        "epsilon-budget",
        (_GDPR, "25", "data protection by design and by default"),
        (_31700, "7.4", "privacy controls are implemented"),
        (_NIST, "MEASURE 2.10", "privacy risk is examined"),
    ),
    _control(
        "FED-2",
        "Enough sites share each round",
        "The number of sites of each round that something left for is compared with the policy's.",
        "minimum-sites",
        (_NIST, "MANAGE 3.1", "risks from third parties are watched"),
        (_42001, "A.10.3", "suppliers work as the organisation asks"),
    ),
    _control(
        "FED-3",
        "Only consenting patients' data are learned from",
        "Each round that something left for has its cohort's digest and the policy that it was drawn under.",
        "consent-checked",
        (_GDPR, "5(1)(b)", "data are used for the purposes that they were collected for"),
        (_42001, "A.7.5", "where data come from is recorded"),
        (_31700, "4.3", "what people prefer is found out"),
        (_ACT, "10(2)(b)", "how data were collected, and for what, is governed"),
    ),
    # Patients and security
    _control(
        "SUB-1",
        "Patients are answered and erased",
        "Requests in the log are counted, and what is left of erased patients is looked for.",
        "subject-requests",
        (_GDPR, "15", "a person gets to know what is held"),
        (_GDPR, "17", "a person's data are erased"),
        (_31700, "4.2", "people can exercise their privacy rights"),
        (_31700, "8.2", "privacy controls for the end of use are designed"),
        (_HIPAA, "164.524", "individuals have access to their data"),
    ),
    _control(
        "SUB-2",
        "Disclosures are accounted for",
        "Deliveries to PACS and EHR in the period are compared with the log.",
        "disclosures",
        (_HIPAA, "164.528", "individuals get an account of disclosures"),
        (_GDPR, "30", "processing is recorded"),
    ),
    _control(
        "SEC-1",
        "Data travel encrypted",
        "The configured addresses of EHR, archive and pages use TLS.",
        "transport",
        (_HIPAA, "164.312(e)(1)", "data in transit are guarded"),
        (_GDPR, "32", "security fits the risk"),
        (_ACT, "15(5)", "the system withstands attempts to alter its behaviour"),
    ),
    _control(
        "SEC-2",
        "Accounts have roles and passwords",
        "Each account has a known role and a password.",
        "accounts",
        (_HIPAA, "164.312(a)(1)", "only who is allowed has access"),
        (_HIPAA, "164.308(a)(4)", "access is authorised"),
        (_GDPR, "32", "security fits the risk"),
    ),
    # What no query can show
    _control(
        "ORG-1",
        "An AI policy is approved",
        "An officer attests that the organisation's management approved a policy for AI.",
        "attestation",
        (_42001, "A.2.2", "an AI policy is documented"),
        (_NIST, "GOVERN 1.1", "legal requirements are understood and managed"),
        (_ACT, "17", "a quality management system is in place"),
        topic="ai-policy",
    ),
    _control(
        "ORG-2",
        "Risks are managed",
        "An officer attests a current risk management file.",
        "attestation",
        (_ACT, "9", "a risk management system is set up and kept"),
        (_NIST, "MAP 5.1", "likelihood and size of impacts are identified"),
        (_31700, "6.2", "privacy risks are assessed"),
        (_HIPAA, "164.308(a)(1)(ii)(A)", "risks to health data are analysed"),
        topic="risk-management",
    ),
    _control(
        "ORG-3",
        "Impacts are assessed",
        "An officer attests a current data protection and AI impact assessment.",
        "attestation",
        (_GDPR, "35", "impact on data protection is assessed"),
        (_42001, "A.5.2", "a process assesses the AI system's impact"),
        (_NIST, "MAP 5.2", "feedback on impacts is taken in"),
        topic="impact-assessment",
    ),
    _control(
        "ORG-4",
        "People are trained",
        "An officer attests that users and officers were trained for the system.",
        "attestation",
        (_ACT, "26(2)", "who oversees has competence, training and authority"),
        (_NIST, "GOVERN 2.2", "people are trained in AI risk management"),
        (_42001, "A.4.6", "competence of people is documented"),
        (_31700, "4.7", "knowledge and skill in privacy are built"),
        (_HIPAA, "164.308(a)(5)", "people are trained in security"),
        topic="training",
    ),
    _control(
        "ORG-5",
        "Processing is registered",
        "An officer attests an entry in the record of processing activities.",
        "attestation",
        (_GDPR, "30", "processing is recorded"),
        (_31700, "4.9", "documented information on privacy is kept"),
        topic="processing-record",
    ),
    _control(
        "ORG-6",
        "Incidents have a procedure",
        "An officer attests a procedure for incidents and data breaches.",
        "attestation",
        (_ACT, "73", "serious incidents are reported"),
        (_HIPAA, "164.308(a)(6)", "security incidents are handled"),
        (_31700, "7.8", "breaches of privacy are prepared for"),
        (_NIST, "MANAGE 4.3", "incidents and errors are communicated"),
        topic="incident-procedure",
    ),
    _control(
        "ORG-7",
        "Patients are informed",
        "An officer attests that patients are told of the system and whom to ask.",
        "attestation",
        (_GDPR, "13", "persons are informed"),
        (_31700, "5.2", "privacy information is provided"),
        (_42001, "A.8.5", "interested parties are informed"),
        (_ACT, "26(11)", "persons are told that a high-risk system is used"),
        topic="patient-information",
    ),
    _control(
        "ORG-8",
        "Suppliers are bound",
        "An officer attests contracts with processors and suppliers.",
        "attestation",
        (_42001, "A.10.3", "suppliers work as the organisation asks"),
        (_31700, "6.3", "third parties' privacy capabilities are assessed"),
        (_NIST, "GOVERN 6.1", "risks from third parties are addressed"),
        (_HIPAA, "164.308(b)(1)", "business associates give assurances"),
        topic="suppliers",
    ),
    _control(
        "ORG-9",
        "Backups and recovery are tested",
        "An officer attests a tested plan for backup and recovery.",
        "attestation",
        (_HIPAA, "164.308(a)(7)", "there is a contingency plan"),
        (_GDPR, "32(1)(c)", "availability can be restored in time"),
        (_NIST, "MANAGE 2.3", "unknown risks are responded to and recovered from"),
        topic="backup",
    ),
)
"""All of them, in the order of the report."""


def control(name: str) -> Control | None:
    """One control by its id."""
    return next((each for each in CONTROLS if each.id == name), None)
