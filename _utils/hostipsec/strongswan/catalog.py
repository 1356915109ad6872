"""What strongSwan 5.9.1 to 6.0.1 documents, as data.

Sources, the union of the three releases: src/starter/keywords.txt and args.c for ipsec.conf;
conf/options/*.opt and conf/plugins/*.opt for strongswan.conf (types after the defaults given there);
src/libstrongswan/utils/debug.c for the types of charondebug.
"""

from __future__ import annotations

from collections.abc import Mapping


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# ipsec.conf, conn sections -------------------------------------------------------------------

_BOOL = ("no", "yes")
_DPD = ("none", "clear", "hold", "restart")

MODES = ("transport", "tunnel", "beet", "transport_proxy")
SHUNTS = ("passthrough", "pass", "drop", "reject")  # policies without IPsec, of option type

ENUMS: Mapping[str, tuple[str, ...]] = {
    "aggressive": _BOOL,
    "authby": (
        *("psk", "secret", "pubkey", "rsa", "rsasig", "ecdsa", "ecdsasig"),
        *("xauthpsk", "xauthrsasig", "never"),
    ),
    "closeaction": _DPD,
    "compress": _BOOL,
    "dpdaction": _DPD,
    "forceencaps": _BOOL,
    "fragmentation": ("no", "accept", "yes", "force"),
    "installpolicy": _BOOL,
    "keyexchange": ("ike", "ikev1", "ikev2"),
    "leftallowany": _BOOL,
    "leftfirewall": _BOOL,
    "lefthostaccess": _BOOL,
    "leftsendcert": ("always", "ifasked", "never", "yes", "no"),
    "mediation": _BOOL,
    "mobike": _BOOL,
    "modeconfig": ("pull", "push"),
    "reauth": _BOOL,
    "rekey": _BOOL,
    "rightallowany": _BOOL,
    "rightfirewall": _BOOL,
    "righthostaccess": _BOOL,
    "rightsendcert": ("always", "ifasked", "never", "yes", "no"),
    "sha256_96": _BOOL,
    "type": (*MODES, *SHUNTS),
    "xauth": ("client", "server"),
}
TIMES = (
    "dpddelay",
    "dpdtimeout",
    "ikelifetime",
    "inactivity",
    "keylife",
    "lifetime",
    "margintime",
    "rekeymargin",
)
COUNTS = ("replay_window", "reqid")
LONG_COUNTS = ("lifebytes", "lifepackets", "marginbytes", "marginpackets")
PERCENTS = ("rekeyfuzz",)
PORTS = ("leftikeport", "rightikeport")
PROTOCOL_PORTS = ("leftprotoport", "rightprotoport")
PROPOSALS = ("esp", "ike")
MARKS = ("mark", "mark_in", "mark_out")
TEXTS = _words("""
aaa_identity eap_identity me_peerid mediated_by xauth_identity
leftauth leftauth2 leftca leftca2 leftcert2 leftcertpolicy leftdns leftgroups leftgroups2 leftid2
leftrsasigkey leftsigkey leftsourceip leftsubnet leftsubnetwithin leftupdown
rightauth rightauth2 rightca rightca2 rightcert rightcert2 rightcertpolicy rightdns rightgroups
rightgroups2 rightid2 rightrsasigkey rightsigkey rightsourceip rightsubnet rightsubnetwithin rightupdown
""")
# Two names for one option (keywords.txt)
SYNONYMS: Mapping[str, str] = {
    "keylife": "lifetime",
    "leftsubnetwithin": "leftsubnet",
    "rekeymargin": "margintime",
    "rightsubnetwithin": "rightsubnet",
}
# What the package computes for each connection, and where the operator decides instead
COMPUTED: Mapping[str, str] = {
    "ah": "'esp': beside 'ah', which encrypts nothing, charon would leave it out",
    "also": "nothing: all connections share these options",
    "auto": "a rule's 'stage' (off, passive, start, require)",
    "dpdaction": "nothing: restart at the initiator, clear at the responder",
    "left": "'ipv4' and 'ipv6' of the host",
    "leftcert": "'certificates'",
    "leftid": "'subject' of 'certificates'",
    "right": "'ipv4' and 'ipv6' of the peer",
    "rightid": "'subject' of 'certificates'",
}

# Keys of strongSwan before 5, of other IKE daemons and of swanctl.conf, for conn sections and config setup
_GONE = "no such key: strongSwan 5 has no use for it"
_EXCHANGE = "no such key: a key exchange in each proposal of 'esp', as ecp384bp, is perfect forward secrecy"
FORMER: Mapping[str, str] = {
    **dict.fromkeys(("pfs", "pfsgroup"), _EXCHANGE),
    **dict.fromkeys(("auth", "phase2"), "no such key: ESP is what encrypts; 'esp' has its algorithms"),
    **dict.fromkeys(("phase2alg", "esp_proposals"), "'esp'"),
    "proposals": "'ike'",
    **dict.fromkeys(("ikev2", "version"), "'keyexchange'"),
    **dict.fromkeys(
        ("salifetime", "rekey_time", "life_time"), "'lifetime', of which 'margintime' is for rekeying"
    ),
    **dict.fromkeys(("over_time", "rand_time"), "'margintime' and 'rekeyfuzz'"),
    "reauth_time": "'reauth' and 'ikelifetime'",
    **dict.fromkeys(("dpd_delay", "dpd"), "'dpddelay'"),
    **dict.fromkeys(
        ("dpd_action", "start_action", "auto_start", "close_action"),
        "nothing: a rule's 'stage' says when a pair is up",
    ),
    **dict.fromkeys(("encap", "encapsulation"), "'forceencaps'"),
    "mode": "'type'",
    "mtu": "'mtu' beside 'connection', or at a rule: routes lock it",
    **dict.fromkeys(("clear", "only", "stage"), "that key at a rule"),
    "send_cert": "'leftsendcert'",
    "send_certreq": "'rightsendcert'",
    "unique": "'uniqueids' of 'setup'",
    **dict.fromkeys(("local_addrs", "remote_addrs"), "'ipv4' and 'ipv6' of hosts"),
    **dict.fromkeys(("local_ts", "remote_ts"), "nothing: between two hosts all packets are encrypted"),
    **dict.fromkeys(("leftnexthop", "rightnexthop"), "no such key: the kernel's routes say it"),
    **dict.fromkeys(("charonstart", "plutostart", "nocrsend", "nat_traversal", "virtual_private"), _GONE),
    **dict.fromkeys(("interfaces", "overridemtu", "fragicmp", "hidetos", "protostack", "prepluto"), _GONE),
    **dict.fromkeys(
        ("pkcs11module", "pkcs11initargs", "eap", "ldapbase", "ldaphost", "oe", "nhelpers"), _GONE
    ),
    **dict.fromkeys(("plutodebug", "klipsdebug", "klips", "debug"), "'charondebug' of 'setup'"),
    "crlcheckinterval": "no such key: charon asks when it needs a CRL; see 'strictcrlpolicy'",
}

# ipsec.conf, config setup --------------------------------------------------------------------

SETUP: Mapping[str, tuple[str, ...]] = {
    "cachecrls": _BOOL,
    "strictcrlpolicy": ("no", "yes", "ifuri"),
    "uniqueids": ("no", "yes", "replace", "keep", "never"),
}
CHARONDEBUG = _words("dmn mgr ike chd job cfg knl net asn enc tnc imc imv pts tls esp lib")
CHARONDEBUG_LEVELS = range(-1, 5)

# strongswan.conf, below charon; <name>, <facility> and the like stand for any word ---------------

CHARON_BOOL = _words("""
accept_private_algs accept_unencrypted_mainmode_messages cache_crls cert_cache check_current_path
cisco_flexvpn cisco_unity close_ike_on_child_failure crypto_test.bench crypto_test.on_add
crypto_test.on_create crypto_test.required crypto_test.rng_true delete_rekeyed dh_exponent_ansi_x9_42
dlopen_use_rtld_now dos_protection ecp_x_coordinate_only filelog.<name>.append filelog.<name>.flush_line
filelog.<name>.ike_name filelog.<name>.json filelog.<name>.log_level filelog.<name>.time_add_ms
flush_auth_cfg follow_redirects force_eap_only_authentication hash_and_url
i_dont_care_about_security_and_use_aggressive_mode_psk ignore_acquire_ts imcv.assessment_result
imcv.os_info.default_password_enabled inactivity_close_ike initiator_only install_routes install_virtual_ip
integrity_test leak_detective.detailed load_modular make_before_break multiple_authentication
plugins.addrblock.strict plugins.attr-sql.crash_recovery plugins.attr-sql.lease_history
plugins.bliss.use_bliss_b plugins.botan.internal_rng_only plugins.certexpire.csv.fixed_fields
plugins.certexpire.csv.force plugins.dhcp.force_server_address plugins.dhcp.identity_lease
plugins.dhcp.use_server_port plugins.dnscert.enable plugins.duplicheck.enable plugins.eap-aka-3gpp.seq_check
plugins.eap-aka-3gpp2.seq_check plugins.eap-aka.request_identity plugins.eap-dynamic.prefer_user
plugins.eap-peap.include_length plugins.eap-peap.phase2_piggyback plugins.eap-peap.phase2_tnc
plugins.eap-peap.request_peer_auth plugins.eap-radius.accounting
plugins.eap-radius.accounting_close_on_timeout plugins.eap-radius.accounting_requires_vip
plugins.eap-radius.accounting_send_class plugins.eap-radius.class_group
plugins.eap-radius.close_all_on_timeout plugins.eap-radius.dae.enable plugins.eap-radius.eap_start
plugins.eap-radius.filter_id plugins.eap-radius.station_id_with_port plugins.eap-sim.request_identity
plugins.eap-simaka-sql.remove_used plugins.eap-tls.include_length plugins.eap-ttls.include_length
plugins.eap-ttls.phase2_piggyback plugins.eap-ttls.phase2_tnc plugins.eap-ttls.request_peer_auth
plugins.gcrypt.quick_random plugins.ha.fifo_interface plugins.ha.monitor plugins.ha.resync
plugins.ipseckey.enable plugins.kernel-libipsec.allow_peer_ts plugins.kernel-libipsec.raw_esp
plugins.kernel-netlink.force_receive_buffer_size plugins.kernel-netlink.ignore_retransmit_errors
plugins.kernel-netlink.install_routes_xfrmi plugins.kernel-netlink.parallel_route
plugins.kernel-netlink.parallel_xfrm plugins.kernel-netlink.policy_update plugins.kernel-netlink.port_bypass
plugins.kernel-netlink.process_rules plugins.kernel-netlink.roam_events
plugins.kernel-netlink.set_proto_port_transport_sa plugins.kernel-pfkey.route_via_internal
plugins.load-tester.addrs_keep plugins.load-tester.delete_after_established plugins.load-tester.enable
plugins.load-tester.fake_kernel plugins.load-tester.request_virtual_ip
plugins.load-tester.shutdown_when_complete plugins.openssl.load_legacy plugins.osx-attr.append
plugins.p-cscf.enable.<conn> plugins.pkcs11.modules.<name>.load_certs
plugins.pkcs11.modules.<name>.os_locking plugins.pkcs11.reload_certs plugins.pkcs11.use_dh
plugins.pkcs11.use_ecc plugins.pkcs11.use_hasher plugins.pkcs11.use_pubkey plugins.pkcs11.use_rng
plugins.pkcs11.use_rsa_pss_hashers plugins.random.strong_equals_true plugins.revocation.enable_crl
plugins.revocation.enable_ocsp plugins.save-keys.esp plugins.save-keys.ike plugins.save-keys.load
plugins.socket-default.set_source plugins.socket-default.set_sourceif plugins.socket-default.use_ipv4
plugins.socket-default.use_ipv6 plugins.stroke.allow_swap plugins.stroke.ignore_missing_ca_basic_constraint
plugins.stroke.prevent_loglevel_changes plugins.systime-fix.reauth plugins.tnc-imc.dlclose
plugins.tnc-imv.dlclose plugins.tnc-pdp.pt_tls.enable plugins.tnc-pdp.radius.enable plugins.tnccs-20.mutual
plugins.tnccs-20.tests.pb_tnc_noskip plugins.tpm.fips_186_4 plugins.tpm.use_rng plugins.updown.dns_handler
plugins.whitelist.enable plugins.wolfssl.fips_mode plugins.xauth-pam.session plugins.xauth-pam.trim_email
prefer_best_path prefer_configured_proposals prefer_temporary_addrs process_route receive_delay_request
receive_delay_response reject_trusted_end_entity reuse_ikesa rsa_pss rsa_pss_trailerfield send_delay_request
send_delay_response send_vendor_id signature_authentication signature_authentication_constraints
syslog.<facility>.ike_name syslog.<facility>.log_level tls.send_certreq_authorities x509.enforce_critical
""")
CHARON_INT = _words("""
block_threshold cookie_threshold cookie_threshold_ip crypto_test.bench_size crypto_test.bench_time
delete_rekeyed_delay fragment_size fragment_size_v4 fragment_size_v6 half_open_timeout
host_resolver.max_threads host_resolver.min_threads ikesa_limit ikesa_table_segments ikesa_table_size
init_limit_half_open init_limit_job_load leak_detective.usage_threshold leak_detective.usage_threshold_count
max_ikev1_exchanges max_packet ocsp_nonce_len plugins.addrblock.depth plugins.android_log.loglevel
plugins.coupling.max plugins.curl.redir plugins.drbg.max_drbg_requests plugins.eap-peap.fragment_size
plugins.eap-peap.max_message_count plugins.eap-radius.dae.port plugins.eap-radius.port
plugins.eap-radius.retransmit_tries plugins.eap-radius.servers.<server>.acct_port
plugins.eap-radius.servers.<server>.auth_port plugins.eap-radius.servers.<server>.port
plugins.eap-radius.servers.<server>.preference plugins.eap-radius.servers.<server>.retransmit_tries
plugins.eap-radius.servers.<server>.sockets plugins.eap-radius.sockets plugins.eap-tls.fragment_size
plugins.eap-tls.max_message_count plugins.eap-tnc.max_message_count plugins.eap-ttls.fragment_size
plugins.eap-ttls.max_message_count plugins.ha.autobalance plugins.ha.buflen plugins.ha.heartbeat_delay
plugins.ha.heartbeat_timeout plugins.ha.segment_count plugins.kernel-netlink.buflen
plugins.kernel-netlink.mss plugins.kernel-netlink.mtu plugins.kernel-netlink.receive_buffer_size
plugins.kernel-netlink.retries plugins.kernel-netlink.spdh_thresh.ipv4.lbits
plugins.kernel-netlink.spdh_thresh.ipv4.rbits plugins.kernel-netlink.spdh_thresh.ipv6.lbits
plugins.kernel-netlink.spdh_thresh.ipv6.rbits plugins.kernel-netlink.timeout
plugins.kernel-netlink.xfrm_acq_expires plugins.kernel-pfkey.events_buffer_size plugins.kernel-pfroute.mtu
plugins.kernel-pfroute.vip_wait plugins.led.blink_time plugins.load-tester.addrs_prefix
plugins.load-tester.child_rekey plugins.load-tester.delay plugins.load-tester.dpd_delay
plugins.load-tester.dynamic_port plugins.load-tester.ike_rekey plugins.load-tester.init_limit
plugins.load-tester.initiators plugins.load-tester.iterations plugins.load-tester.version
plugins.openssl.fips_mode plugins.radattr.message_id plugins.sql.loglevel plugins.stroke.max_concurrent
plugins.stroke.timeout plugins.systime-fix.interval plugins.tnc-ifmap.renew_session_interval
plugins.tnc-pdp.pt_tls.port plugins.tnc-pdp.radius.port plugins.tnc-pdp.timeout
plugins.tnccs-11.max_message_size plugins.tnccs-20.max_batch_size plugins.tnccs-20.max_message_size
plugins.tnccs-20.tests.pb_tnc_version port port_nat_t processor.priority_threads.critical
processor.priority_threads.high processor.priority_threads.low processor.priority_threads.medium
receive_delay receive_delay_type replay_window reqid_base retransmit_jitter retransmit_limit
retransmit_tries routing_table routing_table_prio send_delay send_delay_type spi_max spi_min
syslog.<facility>.map_level threads
""")
CHARON_FLOAT = _words("""
plugins.eap-radius.retransmit_base plugins.eap-radius.retransmit_timeout
plugins.eap-radius.servers.<server>.retransmit_base plugins.eap-radius.servers.<server>.retransmit_timeout
retransmit_base retransmit_timeout tls.version_max tls.version_min
""")
CHARON_TIME = _words("""
keep_alive keep_alive_dpd_margin plugins.eap-radius.accounting_interval plugins.revocation.timeout
plugins.systime-fix.timeout retry_initiate_interval
""")
CHARON_TEXT = _words("""
dns1 dns2 filelog.<name>.path filelog.<name>.time_format filelog.<name>.time_precision group
ignore_routing_tables imcv.database imcv.os_info.name imcv.os_info.version imcv.policy_script
install_virtual_ip_on interfaces_ignore interfaces_use load nbns1 nbns2 plugins.attr-sql.database
plugins.attr.<attr> plugins.bypass-lan.interfaces_ignore plugins.bypass-lan.interfaces_use
plugins.certexpire.csv.cron plugins.certexpire.csv.empty_string plugins.certexpire.csv.format
plugins.certexpire.csv.local plugins.certexpire.csv.remote plugins.certexpire.csv.separator
plugins.coupling.file plugins.coupling.hash plugins.curl.tls_backend plugins.dhcp.interface
plugins.dhcp.interface_receive plugins.dhcp.server plugins.duplicheck.socket plugins.eap-dynamic.preferred
plugins.eap-gtc.backend plugins.eap-peap.phase2_method plugins.eap-radius.dae.listen
plugins.eap-radius.dae.secret plugins.eap-radius.forward.ike_to_radius
plugins.eap-radius.forward.radius_to_ike plugins.eap-radius.id_prefix plugins.eap-radius.nas_identifier
plugins.eap-radius.secret plugins.eap-radius.server plugins.eap-radius.servers.<server>.address
plugins.eap-radius.servers.<server>.nas_identifier plugins.eap-radius.servers.<server>.secret
plugins.eap-radius.servers.<server>.source plugins.eap-radius.source
plugins.eap-radius.xauth.<profile>.<type> plugins.eap-simaka-sql.database plugins.eap-tnc.protocol
plugins.eap-ttls.phase2_method plugins.eap-ttls.phase2_tnc_method plugins.error-notify.socket
plugins.ext-auth.script plugins.forecast.groups plugins.forecast.interface plugins.forecast.reinject
plugins.ha.local plugins.ha.pools plugins.ha.remote plugins.ha.secret plugins.kernel-libipsec.fwmark
plugins.kernel-netlink.fwmark plugins.kernel-netlink.hw_offload_feature_interface plugins.led.activity_led
plugins.load-tester.addrs.<interface> plugins.load-tester.ca_dir plugins.load-tester.crl
plugins.load-tester.digest plugins.load-tester.eap_password plugins.load-tester.esp
plugins.load-tester.initiator plugins.load-tester.initiator_auth plugins.load-tester.initiator_id
plugins.load-tester.initiator_match plugins.load-tester.initiator_tsi plugins.load-tester.initiator_tsr
plugins.load-tester.issuer_cert plugins.load-tester.issuer_key plugins.load-tester.mode
plugins.load-tester.pool plugins.load-tester.preshared_key plugins.load-tester.proposal
plugins.load-tester.responder plugins.load-tester.responder_auth plugins.load-tester.responder_id
plugins.load-tester.responder_tsi plugins.load-tester.responder_tsr plugins.load-tester.socket
plugins.lookip.socket plugins.ntru.parameter_set plugins.openssl.engine_id plugins.openxpki.database
plugins.pkcs11.modules.<name>.path plugins.radattr.dir plugins.random.random plugins.random.urandom
plugins.resolve.file plugins.resolve.resolvconf.iface plugins.resolve.resolvconf.iface_prefix
plugins.resolve.resolvconf.path plugins.save-keys.wireshark_keys plugins.socket-default.fwmark
plugins.sql.database plugins.stroke.secrets_file plugins.stroke.socket plugins.systime-fix.threshold
plugins.systime-fix.threshold_format plugins.tnc-ifmap.client_cert plugins.tnc-ifmap.client_key
plugins.tnc-ifmap.device_name plugins.tnc-ifmap.server_cert plugins.tnc-ifmap.server_uri
plugins.tnc-ifmap.username_password plugins.tnc-imc.preferred_language plugins.tnc-imv.recommendation_policy
plugins.tnc-pdp.radius.method plugins.tnc-pdp.radius.secret plugins.tnc-pdp.server plugins.tpm.ek_handle
plugins.tpm.tcti.name plugins.tpm.tcti.opts plugins.unbound.dlv_anchors plugins.unbound.resolv_conf
plugins.unbound.trust_anchors plugins.vici.socket plugins.whitelist.socket plugins.xauth-eap.backend
plugins.xauth-pam.pam_service rdn_matching spi_label spi_mask start-scripts.<name> stop-scripts.<name>
syslog.identifier tls.cipher tls.ke_group tls.key_exchange tls.mac tls.signature tls.suites tnc.tnc_config
user
""")
# levels of the loggers (daemon.c load_sys_logger, load_file_logger), one type more than charondebug has
CHARON_LEVEL = tuple(
    f"{logger}.{kind}"
    for logger in ("filelog.<name>", "syslog.<facility>")
    for kind in (*CHARONDEBUG, "app", "default")
)
# each plugin has `load`: yes, no or a priority
PLUGINS = _words("""
acert addrblock aes aesni af-alg agent android-dns android-log attr attr-sql bliss blowfish botan
bypass-lan ccm certexpire chapoly cmac connmark constraints counters coupling ctr curl curve25519 des dhcp
dnscert dnskey drbg duplicheck eap-aka eap-aka-3gpp eap-aka-3gpp2 eap-dynamic eap-gtc eap-identity eap-md5
eap-mschapv2 eap-peap eap-radius eap-sim eap-sim-file eap-sim-pcsc eap-simaka-pseudonym eap-simaka-reauth
eap-simaka-sql eap-tls eap-tnc eap-ttls error-notify ext-auth farp files fips-prf forecast gcm gcrypt gmp
ha hmac imc-attestation imc-hcd imc-os imc-scanner imc-swima imc-test imv-attestation imv-hcd imv-os
imv-scanner imv-swima imv-test ipseckey kdf kernel-iph kernel-libipsec kernel-netlink kernel-pfkey
kernel-pfroute kernel-wfp keychain ldap led load-tester lookip md4 md5 medcli medsrv mgf1 ml mysql newhope
nonce ntru openssl openxpki osx-attr p-cscf padlock pem pgp pkcs1 pkcs11 pkcs12 pkcs7 pkcs8 pubkey radattr
random rc2 rdrand resolve revocation save-keys selinux sha1 sha2 sha3 smp socket-default socket-dynamic
socket-win soup sql sqlite sshkey stroke systime-fix test-vectors tnc-ifmap tnc-imc tnc-imv tnc-pdp
tnc-tnccs tnccs-11 tnccs-20 tnccs-dynamic uci unbound unity updown vici whitelist winhttp wolfssl x509
xauth-eap xauth-generic xauth-noauth xauth-pam xcbc
""")
