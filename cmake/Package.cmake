# What `cpack` makes of an install: an archive that runs from wherever it is unpacked, and a Debian package.
set(CPACK_PACKAGE_NAME pare)
set(CPACK_PACKAGE_VENDOR "the pare project")
set(CPACK_PACKAGE_CONTACT "the pare project")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "benchmarks neural-network compression")
set(CPACK_PACKAGE_DESCRIPTION "Runs networks that were quantized and pruned as they would be deployed, and
writes accuracy, time, bytes and counters of each to a CSV file. Methods and
backends are plugins, experiments are scripts in Lua.")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
# Whatever the umask: a plugin folder that everybody may write to would be refused.
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(architecture ${CMAKE_SYSTEM_PROCESSOR})
if(architecture STREQUAL "x86_64")
  set(architecture amd64)
elseif(architecture STREQUAL "aarch64")
  set(architecture arm64)
endif()
set(CPACK_PACKAGE_FILE_NAME pare-${PROJECT_VERSION}-linux-${architecture})

# What the Debian package depends on is read off its binaries by DebianDepends.cmake: from the packages installed here
# or, in a cross build, in the sysroot.
set(CPACK_GENERATOR TGZ)
set(CPACK_PARE_SHLIBS "${CMAKE_SYSROOT}/var/lib/dpkg/info")
set(CPACK_PARE_READELF "${CMAKE_READELF}")
file(GLOB shlibs ${CPACK_PARE_SHLIBS}/libc6*.shlibs)
if(shlibs)
  list(APPEND CPACK_GENERATOR DEB)
endif()
# Comparators: their libraries are large, and a `pare` without them is whole.
set(CPACK_PARE_OPTIONAL onednn.so xnnpack.so)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS librsvg2-bin) # `pare report --png`
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/DebianDepends.cmake)
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE ${architecture})
set(CPACK_DEBIAN_PACKAGE_SECTION science)
include(CPack)
